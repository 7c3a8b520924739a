"""Which transactions a snapshot includes, by the 32-bit ids of the change log, also where these begin anew."""

import numpy as np
import pytest

from bridge.sources.postgres.visibility import Visibility


def sees(text: str, *xids: int) -> list[bool]:
    return list(Visibility.parse(text).sees(np.array([xid % 2**32 for xid in xids], np.uint64)).tolist())


def test_ended_transactions_are_included_and_running_or_later_ones_are_not() -> None:
    assert sees("100:105:101,103", 99, 100, 101, 102, 103, 104, 105, 106) == [
        True, True, False, True, False, True, False, False,
    ]  # fmt: skip


def test_a_snapshot_without_running_transactions_includes_all_below_it() -> None:
    assert sees("100:100:", 3, 99, 100, 101) == [True, True, False, False]


@pytest.mark.parametrize("epoch", [1, 7, 2**31 - 1])
def test_ids_that_wrapped_around_are_told_from_old_ones(epoch: int) -> None:
    """Just before and just behind a multiple of 2**32, from either side."""
    turn = epoch << 32
    before, behind = f"{turn - 5}:{turn - 2}:{turn - 4}", f"{turn - 5}:{turn + 8}:{turn - 4},{turn + 4}"
    ids = [turn - 6, turn - 4, turn - 3, turn - 2, turn + 3, turn + 4, turn + 8, turn + 9]
    assert sees(before, *ids) == [True, False, True, False, False, False, False, False]
    assert sees(behind, *ids) == [True, False, True, True, True, False, False, False]


def test_no_transaction_at_all_is_included() -> None:
    """The form of a standby, which does not list what runs on its primary."""
    assert sees("50:50:", 49, 50, 51) == [True, False, False]
    assert sees("50:60:55") == []
