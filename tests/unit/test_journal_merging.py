"""Which blocks are merged next."""

import pytest

from bridge.journal.blocks import Head
from bridge.journal.merging import FULL_BYTES, FULL_ROWS, Plan, plan


def heads(*sizes: int, contract: str = "1.0.0", first: int = 1, size_bytes: int = 300) -> list[Head]:
    found = []
    for size in sizes:
        found.append(Head(first, first + size - 1, 1, contract, 1, 0, size_bytes))
        first += size
    return found


def test_a_few_small_blocks_wait() -> None:
    assert plan(heads(*[1] * 15)) == Plan()


def test_sixteen_blocks_of_a_tier_are_merged() -> None:
    assert plan(heads(300, *[1] * 16)) == Plan(1, 17)


def test_a_full_run_is_merged_and_settled() -> None:
    assert plan(heads(5_000, 3_000, 200)) == Plan(0, 3, 3)


def test_a_full_block_is_settled_as_it_is() -> None:
    assert plan(heads(FULL_ROWS, 1)) == Plan(0, 0, 1)
    assert plan(heads(1, size_bytes=FULL_BYTES)) == Plan(0, 0, 1)


def test_a_run_ends_where_the_contract_changes() -> None:
    old = heads(3, 4)
    assert plan(old + heads(5, contract="2.0.0", first=8)) == Plan(0, 2, 2)


def test_a_huge_block_is_not_merged_into_a_small_one() -> None:
    assert plan(heads(1, 3 * FULL_ROWS)) == Plan(0, 0, 1)
    assert plan(heads(1) + heads(1, first=2, size_bytes=FULL_BYTES)) == Plan(0, 0, 1)


@pytest.mark.parametrize("size", [1, 7, 300])
def test_an_event_is_rewritten_a_few_times_at_most(size: int) -> None:
    """Appends of one size, merged as they come: rows written by merges per row appended."""
    waiting: list[int] = []
    rewritten = appended = 0
    while appended < 4 * FULL_ROWS:
        waiting.append(size)
        appended += size
        while (step := plan(heads(*waiting))) != Plan():
            merged = sum(waiting[step.start : step.end])
            rewritten += merged
            waiting[step.start : step.end] = [merged] if merged else []
            waiting = waiting[1:] if step.settled else waiting
        assert len(waiting) < 100
    assert rewritten / appended < 5
