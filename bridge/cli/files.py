"""Write the events of a stream into one file of columns: complete, or not there at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bridge.errors import BridgeError
from bridge.export import columns
from bridge.ports import Journal


class FileNotWritten(BridgeError):
    """A file asked for could not be written; what was there before is untouched."""

    code = "file.not_written"
    default_hint = "Check the folder, its permissions and the free space."
    exit_code = 73


def write_events(
    journal: Journal, stream: str, target: Path, *, after: int, key: str | None, limit: int | None, parquet: bool
) -> int:
    """Write the events that the journal holds now; returns how many.

    Contract versions may differ within a stream, so the file's columns are the union of theirs: the journal is read
    once for the columns and once for the values, and never held in memory.
    Raises: FileNotWritten, JournalCorrupt.
    """
    extent = journal.extents().get(stream)
    last = extent.last if extent is not None else 0

    def tables() -> Iterator[pa.Table]:
        left = limit
        for block in journal.read(stream, after=after, limit=None if key is not None else limit):
            table = columns(block, key=key)
            if block.last > last:  # journalled since we began
                table = table.filter(pc.less_equal(table.column("_seq"), last))
            if left is not None:
                table = table.slice(0, left)
                left -= table.num_rows
            yield table
            if left == 0 or block.last >= last:
                return

    schema = _union(tables())
    count = 0
    with replacing(target) as part, _writer(part, schema, parquet=parquet) as write:
        for table in tables():
            write(pa.concat_tables([schema.empty_table(), table], promote_options="permissive"))
            count += table.num_rows
    return count


def _union(tables: Iterator[pa.Table]) -> pa.Schema:
    schema = pa.schema([])
    for table in tables:
        if table.schema != schema:
            schema = pa.unify_schemas([schema, table.schema], promote_options="permissive")
    return schema


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A file beside the target that takes its place, durably, when the block ends well. Raises: FileNotWritten."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(target)
    except OSError as error:
        raise FileNotWritten(f"{target}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _writer(path: Path, schema: pa.Schema, *, parquet: bool) -> Iterator[Callable[[pa.Table], None]]:
    if parquet:
        with pq.ParquetWriter(path, schema, compression="zstd") as file:
            yield file.write_table
    else:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as file:
            yield file.write_table
