"""A table of 1 M orders compared with what was read before, a thousandth of it changed; the limit extracts it alone."""

import contextlib
from collections.abc import Iterator

from bench import program, source
from bench.claim import Claim, Measure, Readers, Sample, Target

ROWS = 1_000_000
CHANGE = """
UPDATE sales.orders SET amount = amount + 1 WHERE id % 1250 = 7;
CREATE TEMP TABLE last AS SELECT * FROM sales.orders ORDER BY id DESC LIMIT 100;
DELETE FROM sales.orders WHERE id IN (SELECT id FROM last);
UPDATE last SET id = id + 1000;
INSERT INTO sales.orders SELECT * FROM last
"""


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """The order table, at rest."""
    rows = source.scaled(ROWS)
    with source.serving() as erp:
        erp.fill(rows, rows_per_transaction=10_000)
        erp.database.sql("VACUUM ANALYZE sales.orders")

        def ours() -> Sample:
            return program.measure("bench.polling", "compare", erp.dsn, "sales.orders", "full", CHANGE)

        def limit() -> Sample:
            return program.measure("bench.polling", "extract", erp.dsn, "sales.orders", "rows")

        yield Readers(ours, limit=limit, notes=(*source.notes(), "pages of 50,000 rows"))


CLAIM = Claim(
    name="full_compare",
    about="1 M rows of 12 columns compared with what was read before, 0.1 % changed",
    measures=(Measure("rate", "rows/s", Target(of_limit=0.5, rss_mb=1024)),),
    open=prepare,
)
