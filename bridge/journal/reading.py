"""Events out of the journal, by sequence number.

A reader asks for numbers, not for blocks, so that merging behind its back neither doubles nor hides an event. Between
blocks it holds no transaction.
"""

from collections.abc import Iterator
from datetime import datetime

from bridge.journal import blocks
from bridge.journal.database import Database
from bridge.journal.rows import maybe_moment
from bridge.model import Block
from bridge.ports import StreamExtent

_FETCH_BYTES = 2 << 20  # compressed; small blocks come many at a time, full ones a few


def read(database: Database, stream: str, *, after: int, limit: int | None) -> Iterator[Block]:
    """Blocks with numbers above `after`, the first and the last one cut. Raises: JournalCorrupt naming the block."""
    left = limit
    while left is None or left > 0:
        with database.reading() as connection:
            row = blocks.find(connection, stream)
            if row is None or row.last <= after:
                return
            found = blocks.fetch(connection, row, after=after, budget_bytes=_FETCH_BYTES)
            schemas = {number: blocks.schema(connection, number) for number in {block.schema for block in found}}
        for stored in found:
            block = cut(blocks.decode(stored, schemas[stored.schema]), after=after, limit=left)
            after = block.last
            left = None if left is None else left - block.batch.num_rows
            yield block
            if left == 0:
                return
        if not found:
            return


def cut(block: Block, *, after: int, limit: int | None) -> Block:
    """The rows of a block above a number, at most `limit`."""
    skip = max(0, after + 1 - block.first)
    batch = block.batch.slice(skip, limit)
    if batch.num_rows == block.batch.num_rows:
        return block
    return Block(block.stream, block.first + skip, block.epoch, block.contract, block.journalled_at, batch)


def journalled_at(database: Database, stream: str, number: int) -> datetime | None:
    """When an event, or the next one still kept, was journalled."""
    with database.reading() as connection:
        return maybe_moment(blocks.journalled_at(connection, stream, number))


def alike_to(database: Database, stream: str, first: int, last: int) -> int:
    """Up to which number events have the columns of the first."""
    with database.reading() as connection:
        return blocks.alike_to(connection, stream, first, last)


def extents(database: Database) -> dict[str, StreamExtent]:
    """What is held, per stream. Raises: JournalCorrupt."""
    with database.reading() as connection:
        rows = blocks.catalogue(connection)
    return {
        row.stream: StreamExtent(
            stream=row.stream,
            first=row.first,
            last=row.last,
            bytes=row.bytes,
            blocks=row.blocks,
            last_commit_at=maybe_moment(row.last_commit_at),
            last_journalled_at=maybe_moment(row.last_journalled_at),
        )
        for row in rows.values()
    }
