"""The image of one stream in the journal: what is read of it, and what a step adds to it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from bridge.errors import JournalCorrupt
from bridge.extracted import Forgotten, ImageBlock, Part
from bridge.extraction import identity, image
from bridge.extraction.identity import Kinds
from bridge.extraction.index import Index, Numbers
from bridge.extraction.progress import Progress
from bridge.model import RawBatch, Shape

Images = Callable[[str, int, Collection[Part]], Iterator[ImageBlock]]


@dataclass(frozen=True, slots=True)
class Step:
    """What one window stores of a stream."""

    raw: RawBatch | None = None
    blocks: tuple[ImageBlock, ...] = ()
    forgotten: tuple[Forgotten, ...] = ()

    def __add__(self, other: "Step") -> "Step":
        return Step(self.raw or other.raw, self.blocks + other.blocks, self.forgotten + other.forgotten)


class Stored:
    """What the journal holds of an image. For one thread.

    Args:
        stream: whose image it is.
        key: its key columns.
        images: the journal's; only called while the journal holds every step.
    """

    def __init__(self, stream: str, key: Sequence[str], images: Images) -> None:
        self.stream = stream
        self._key = key
        self.shape: Shape | None = None  # columns of the stream, as they were last
        self.kinds: Kinds | None = None  # of the key columns, that the keys of the index are hashed by
        self._images = images
        self._walk: Iterator[ImageBlock] | None = None
        self._block: ImageBlock | None = None  # the one of the walk that may hold more

    def load(self, progress: Progress) -> Index:
        """The index of the image, with what the reading under way has seen. Raises: JournalCorrupt."""
        if not progress.until:  # what is stored is of an image that was given up
            return Index()
        blocks = self._blocks(progress, "shape", "rows", "gone", "seen")
        index = image.load(blocks, until=progress.until, name=self._named)
        if len(index) != progress.held:
            raise JournalCorrupt(f"table image: stream {self.stream} should hold {progress.held} rows")
        if progress.reading is not None:
            mine = np.arange(progress.reading.begun_at, progress.until, dtype=np.uint32)
            index.see(mine, until=progress.until)
        return index

    def told(self, shape: Shape, generation: int) -> Step:
        """Remember the columns where they are others than before."""
        if shape == self.shape:
            return Step()
        self.shape = shape
        forgotten = Forgotten(self.stream, part="shape")
        return Step(blocks=(image.shape_block(self.stream, generation, shape),), forgotten=(forgotten,))

    def lists(self, generation: int, *, gone: Numbers | None = None, seen: Numbers | None = None) -> list[ImageBlock]:
        """Lists of numbers as blocks, where there are any."""
        return [
            image.numbers_block(self.stream, generation, numbers, seen=is_seen)
            for numbers, is_seen in ((gone, False), (seen, True))
            if numbers is not None and len(numbers)
        ]

    # -- walks through the stored rows

    @property
    def is_walking(self) -> bool:
        """Whether a walk is under way."""
        return self._walk is not None

    def walk(self, progress: Progress) -> None:
        """Begin to go through the rows."""
        self._walk, self._block = self._blocks(progress, "rows"), None

    def walk_copy(self, progress: Progress, index: Index, *, rows: int, above: int) -> None:
        """Begin to go through a copy of the rows that are held, behind the block that begins at `above`."""
        stored = self._blocks(progress, "rows")
        copied = image.copied(stored, index, until=progress.until, generation=progress.copy, rows=rows)
        self._walk, self._block = (block for block in copied if block.first > above), None

    def next(self) -> ImageBlock | None:
        """The next block of a walk; None: it is over."""
        assert self._walk is not None  # noqa: S101  begun before
        return next(self._walk, None)

    def stop(self) -> None:
        """End a walk."""
        self._walk = self._block = None

    def keys_of(self, wanted: Numbers, key_count: int) -> tuple[list[pa.Array], Numbers, Numbers]:
        """The keys of these rows, which are behind all that were asked for in this walk.

        Returns: keys by column; their numbers; the numbers of the rows without a whole key.
        Raises: JournalCorrupt when a row is not there.
        """
        keys: list[list[pa.Array]] = [[] for _ in range(key_count)]
        numbers, without = [np.empty(0, np.uint32)], [np.empty(0, np.uint32)]
        for block in self._holding(wanted):
            start, end = np.searchsorted(wanted, [block.first, block.first + block.batch.num_rows])
            mine = wanted[start:end]
            rows = block.batch.take(pa.array(mine.astype(np.int64) - block.first))
            found = image.keys_of(rows)
            is_whole = image.whole_keys(found, rows.num_rows)
            if is_whole is not None:
                without.append(mine[~is_whole])
                mine, found = mine[is_whole], [key.filter(pa.array(is_whole)) for key in found]
            numbers.append(mine)
            for place, key in enumerate(found):
                keys[place].append(key)
        if sum(map(len, [*numbers, *without])) != len(wanted):
            raise JournalCorrupt(f"table image: rows of stream {self.stream} are missing")
        return [_one(parts) for parts in keys], np.concatenate(numbers), np.concatenate(without)

    def _named(self, keys: list[pa.Array]) -> list[pa.Array]:
        then = identity.kinds(self.shape, self._key) if self.shape is not None else ()
        if self.kinds is None:
            self.kinds = then or None
        return identity.named(keys, self.kinds or then, kinds_then=then) if then else keys

    def _holding(self, wanted: Numbers) -> Iterator[ImageBlock]:
        while True:
            block = self._block = self._block or self.next()
            if block is None or block.first > wanted[-1]:
                return
            yield block
            if block.first + block.batch.num_rows > wanted[-1]:
                return
            self._block = None

    def _blocks(self, progress: Progress, *parts: Part) -> Iterator[ImageBlock]:
        for block in self._images(self.stream, progress.generation, parts):
            if block.part == "shape":
                self.shape = image.shape_of(block)
            else:
                yield block


def _one(parts: list[pa.Array]) -> pa.Array:
    """Arrays as one; of the newest type where it changed, or as text where older keys are none of that type."""
    if not parts:
        return pa.nulls(0)
    try:
        return pa.concat_arrays([part if part.type == parts[-1].type else part.cast(parts[-1].type) for part in parts])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.concat_arrays([part.cast(pa.large_string()) for part in parts])
