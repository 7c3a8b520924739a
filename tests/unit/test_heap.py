"""Memory that is free goes back to the operating system."""

import gc
import platform

import numpy as np
import psutil
import pytest

from bridge import heap
from bridge.extraction import source
from bridge.testing import MemoryJournal
from tests import polled
from tests.polled import Process, row

_SIZE, _COUNT = 100_000, 2_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps nothing back")
def test_what_was_freed_between_blocks_in_use_is_given_back() -> None:
    """glibc gives back by itself only what is free at the end of its heap."""
    process = psutil.Process()
    blocks = [np.ones(_SIZE, np.uint8) for _ in range(_COUNT)]
    kept = blocks[1::100]
    del blocks
    gc.collect()
    before = process.memory_info().rss
    heap.give_back()
    freed = before - process.memory_info().rss
    assert freed > _SIZE * _COUNT / 2, f"{freed:,} bytes of {_SIZE * _COUNT:,}"
    assert len(kept) == _COUNT // 100


def test_the_memory_of_an_image_that_is_forgotten_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(source, "REMEMBERED_ROWS", 5)
    monkeypatch.setattr(heap, "give_back", lambda: told.append(1))
    table, system, clock = polled.world("full")
    process = Process(MemoryJournal(), system, clock=clock)
    for number in range(5):
        table.put(**row(number))
    process.run()
    assert told == []
    table.put(**row(5))
    process.run()
    assert told == [1]
