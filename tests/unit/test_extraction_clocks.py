"""Clocks that are set while a system is polled, ours and the legacy one: no event, order or id depends on them."""

from typing import Any

import pytest

from bridge.testing import FakeClock, MemoryJournal
from bridge.testing.extractor import ScriptedExtractor, ScriptedTable
from tests import polled, shelf
from tests.polled import Process, row

HOUR_S, YEARS_S = 3_600.0, 15 * 365.25 * 86_400  # past 2038


def lived(jump_s: float) -> tuple[MemoryJournal, ScriptedTable]:
    """Ten runs over a table that changes, our clock set by so much before every other one."""
    clock, journal, table = FakeClock(), MemoryJournal(), polled.table("full")
    life = Process(journal, ScriptedExtractor("erp", table, now=clock), clock=clock)
    for number in range(10):
        table.put(**row(number))
        table.put(**row(0, amount=number))
        if number % 3 == 2:
            table.remove(id=number - 1)
        clock.advance(5)
        life.run()
        if number % 2:
            clock.advance(jump_s)
    return journal, table


def without_times(journal: MemoryJournal) -> list[dict[str, Any]]:
    """The events but for when they were found."""
    return [{name: value for name, value in each.items() if name != "_commit_at"} for each in shelf.rows(journal)]


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, -1.0, 1.0, YEARS_S, -YEARS_S])
def test_a_clock_that_is_set_changes_no_event_no_id_and_no_order(jump_s: float) -> None:
    """D2."""
    journal, table = lived(jump_s)
    assert polled.read(journal) == polled.held(table)
    assert without_times(journal) == without_times(lived(0.0)[0])
    places = [(each["_position"], each["_tx_index"]) for each in shelf.rows(journal)]
    assert places == sorted(set(places))
