"""The scripted source keeps what the port promises, and notices who does not."""

import pytest

from bridge.errors import InternalError, PositionLost, SourceUnavailable
from bridge.model import Commit, Position
from bridge.testing import MemoryJournal, ScriptedSource
from tests.shelf import create

FIRST, SECOND = create(1, at=1), create(2, at=2)


def test_windows_and_faults_come_in_the_order_of_the_script() -> None:
    source = ScriptedSource("erp", FIRST, SourceUnavailable("it is down"), SECOND)
    source.open(None, {})
    assert source.read(0) is FIRST
    with pytest.raises(SourceUnavailable):
        source.read(0)
    assert source.read(0) is SECOND
    assert source.read(0) is None


def test_it_goes_on_behind_the_position_it_is_opened_at() -> None:
    source = ScriptedSource("erp", FIRST, SECOND)
    source.open(FIRST.position, FIRST.state)
    assert source.read(0) is SECOND


def test_it_cannot_be_opened_where_it_never_was_or_read_before_it_is_open() -> None:
    source = ScriptedSource("erp", FIRST)
    with pytest.raises(InternalError, match="where it never was"):
        source.open(Position(1, (7, 0)), {})
    with pytest.raises(InternalError, match="before it is open"):
        source.read(0)


def test_a_script_that_grows_wakes_the_reader() -> None:
    source = ScriptedSource("erp")
    source.open(None, {})
    source.add(FIRST)
    assert source.read(5) is FIRST


def test_a_new_epoch_is_the_next_window_of_the_script() -> None:
    source = ScriptedSource("erp", PositionLost("the slot is gone"), SECOND)
    with pytest.raises(PositionLost):
        source.open(None, {})
    assert source.renew(None, {}, "the slot is gone") is SECOND
    with pytest.raises(InternalError, match="no window here"):
        source.renew(None, {}, "again")


def test_a_confirmation_ahead_of_the_journal_is_refused() -> None:
    """I1."""
    journal = MemoryJournal()
    source = ScriptedSource("erp", FIRST, SECOND, journal=journal)
    journal.append(Commit(source="erp", position=FIRST.position, state={}))
    source.confirm(FIRST.position)
    with pytest.raises(InternalError, match="does not hold"):
        source.confirm(SECOND.position)
    assert source.confirmed == [FIRST.position]


def test_a_confirmation_that_moves_back_is_refused() -> None:
    """I2."""
    source = ScriptedSource("erp", FIRST, SECOND)
    source.confirm(SECOND.position)
    with pytest.raises(InternalError, match="moves back"):
        source.confirm(FIRST.position)
