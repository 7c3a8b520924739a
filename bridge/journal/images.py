"""Images of what legacy systems hold, as stored blocks.

Every statement here runs inside a transaction the caller opened; every block is checked when it is read.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import apsw

from bridge.errors import JournalCorrupt
from bridge.extracted import Forgotten, ImageBlock
from bridge.journal import blocks
from bridge.journal.block import Packed, pack, pack_schema, unpack
from bridge.journal.database import Database
from bridge.journal.rows import checksum, is_sound

_PUT = """
INSERT INTO image (stream, generation, part, first, row_count, schema, size, crc, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_COLUMNS = "SELECT id, stream, generation, part, first, row_count, schema, size, crc, data FROM image "
_NEXT = _COLUMNS + "WHERE stream = ? AND generation = ? AND id > ? ORDER BY id LIMIT 1"
_GET = _COLUMNS + "WHERE id = ?"
_FORGET = """
DELETE FROM image WHERE stream = ?1 AND (?2 IS NULL OR generation <= ?2) AND (?3 IS NULL OR part = ?3)
"""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A block of an image, encoded."""

    block: ImageBlock
    schema: bytes
    packed: Packed


def encode(block: ImageBlock) -> Encoded:
    """The costly part, for before the transaction."""
    return Encoded(block, pack_schema(block.batch.schema), pack(block.batch))


def put(connection: apsw.Connection, encoded: Encoded) -> None:
    """Store one block."""
    block, packed = encoded.block, encoded.packed
    schema = blocks.schema_id(connection, encoded.schema)
    values = (block.stream, block.generation, block.part, block.first, block.batch.num_rows, schema, packed.size)
    connection.execute(_PUT, (*values, checksum(*values, data=packed.data), packed.data))


def forget(connection: apsw.Connection, forgotten: Forgotten) -> None:
    """Drop blocks."""
    connection.execute(_FORGET, (forgotten.stream, forgotten.generation, forgotten.part))


def read(database: Database, stream: str, generation: int, parts: Collection[str]) -> Iterator[ImageBlock]:
    """The blocks of a generation in the order they were stored; holds no transaction in between.

    Raises: JournalCorrupt.
    """
    after = 0
    while True:
        with database.reading() as connection:
            row = connection.execute(_NEXT, (stream, generation, after)).fetchone()
            if row is None:
                return
            after = row[0]
            found = _block(connection, row) if row[3] in parts else None
        if found is not None:
            yield found


def get(connection: apsw.Connection, number: int) -> ImageBlock | None:
    """One block by its id. Raises: JournalCorrupt."""
    row = connection.execute(_GET, (number,)).fetchone()
    return None if row is None else _block(connection, row)


def _block(connection: apsw.Connection, row: tuple[Any, ...]) -> ImageBlock:
    number, stream, generation, part, first, row_count, schema, size, crc, data = row
    if not is_sound(crc, stream, generation, part, first, row_count, schema, size, data=data):
        raise JournalCorrupt(f"table image: the checksum of block {number} is wrong")
    batch = unpack(Packed(data, size), blocks.schema(connection, schema))
    return ImageBlock(stream, generation, part, first, batch)
