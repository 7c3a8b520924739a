"""Log sequence numbers, and the history of timelines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import MalformedRecord
from bridge.sources.postgres import lsn
from bridge.sources.postgres.slot import History, parse_history


@given(st.integers(0, 2**64 - 1))
def test_text_and_number_agree(position: int) -> None:
    assert lsn.parse(lsn.text(position)) == position


def test_the_form_is_the_servers() -> None:
    assert lsn.text(0x16_B374_D848) == "16/B374D848"
    assert lsn.parse("0/0") == 0


@pytest.mark.parametrize("wrong", ["", "16", "16/", "/0", "16/B374D8480", "G/0", "1/2/3", " 1/2", "1/2\n"])
def test_anything_else_is_malformed(wrong: str) -> None:
    with pytest.raises(MalformedRecord):
        lsn.parse(wrong)


FORKED = History("7", 3, 0x300, "erp", ((1, 0x100), (2, 0x200)))


def test_a_history_file_lists_the_forks() -> None:
    content = "1\t0/100\tno recovery target specified\n\n# comment\n2\t0/200\tbefore 2026-01-01 00:00:00+00\n"
    assert parse_history(content) == FORKED.forks


@pytest.mark.parametrize(
    ("timeline", "position", "is_held"),
    [(1, 0x100, True), (1, 0x101, False), (2, 0x200, True), (2, 0x201, False), (3, 0x300, True), (3, 0x301, False)],
)
def test_a_position_beyond_its_fork_never_happened_here(timeline: int, position: int, is_held: bool) -> None:  # noqa: FBT001
    assert FORKED.holds(position, timeline=timeline) is is_held


def test_a_timeline_that_is_not_in_the_history_is_another_servers() -> None:
    assert not FORKED.holds(0, timeline=4)
