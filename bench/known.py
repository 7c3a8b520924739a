"""A table at rest, read, then changed a little: what the claims about finding the changes share.

Ours is the run that finds out what changed; the limit extracts the same rows and does nothing else.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bench import program, source
from bench.claim import Readers

CHANGE = """
UPDATE {table} SET {update} WHERE id % {every} = 7;
CREATE TEMP TABLE last AS SELECT * FROM {table} ORDER BY id DESC LIMIT {moved};
DELETE FROM {table} WHERE id IN (SELECT id FROM last);
UPDATE last SET id = id + 10 * {moved};
INSERT INTO {table} SELECT * FROM last
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What is read, how, and what changes in between."""

    table: str
    kind: Literal["full", "sweep"]  # of the run
    want: Literal["rows", "keys"]  # that are extracted
    update: str  # what becomes of every so many-th row
    every: int
    moved: int  # rows that are deleted, and as many that are new
    note: str

    @contextlib.contextmanager
    def prepared(self, fill: Callable[[source.Source], None]) -> Iterator[Readers]:
        """The table as `fill` makes it."""
        change = CHANGE.format(table=self.table, update=self.update, every=self.every, moved=self.moved)
        with source.serving() as erp:
            fill(erp)
            erp.database.sql(f"VACUUM ANALYZE {self.table}")
            yield Readers(
                ours=lambda: program.measure("bench.polling", "compare", erp.dsn, self.table, self.kind, change),
                limit=lambda: program.measure("bench.polling", "extract", erp.dsn, self.table, self.want),
                notes=(*source.notes(), self.note),
            )
