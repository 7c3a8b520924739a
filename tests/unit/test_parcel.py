"""Small blocks put together."""

import pyarrow as pa

from bridge.model import Commit
from bridge.parcel import merged
from bridge.testing import MemoryJournal
from tests import journal_samples as sample


def test_blocks_that_follow_each_other_and_are_alike_become_one() -> None:
    journal = MemoryJournal()
    for at, (count, contract, epoch) in enumerate([(2, "1.0.0", 1), (3, "1.0.0", 1), (1, "1.1.0", 1), (1, "1.1.0", 2)]):
        events = sample.events(count=count, start=10 * at, contract=contract, epoch=epoch)
        journal.append(Commit(events=(events,)))
    found = list(merged(journal.read("orders"), most=100))
    assert [(block.first, block.last, block.contract, block.epoch) for block in found] == [
        (1, 5, "1.0.0", 1),
        (6, 6, "1.1.0", 1),
        (7, 7, "1.1.0", 2),
    ]
    one_by_one = pa.concat_batches([block.batch for block in journal.read("orders")])
    assert pa.concat_batches([block.batch for block in found]).equals(one_by_one)


def test_no_more_are_put_together_than_are_wanted_and_a_large_block_stays_as_it_is() -> None:
    journal = MemoryJournal()
    for count in (2, 2, 2, 9, 1):
        journal.append(Commit(events=(sample.events(count=count),)))
    found = [(block.first, block.last) for block in merged(journal.read("orders"), most=5)]
    assert found == [(1, 4), (5, 6), (7, 15), (16, 16)]
