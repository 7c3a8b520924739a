"""10 M keys compared with those known, some gone and some new; the limit extracts the same keys alone."""

import contextlib
from collections.abc import Iterator

from bench import program, source
from bench.claim import Claim, Measure, Readers, Sample, Target

ROWS = 10_000_000
TABLE = """
CREATE TABLE sales.keys (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL);
GRANT SELECT ON sales.keys TO bridge_ro;
INSERT INTO sales.keys SELECT n, timestamptz '2020-01-01 08:00+00' + n * interval '1 second'
FROM generate_series(1, {rows}) n
"""
CHANGE = """
UPDATE sales.keys SET updated_at = now() WHERE id % 100000 = 7;
CREATE TEMP TABLE last AS SELECT * FROM sales.keys ORDER BY id DESC LIMIT 1000;
DELETE FROM sales.keys WHERE id IN (SELECT id FROM last);
UPDATE last SET id = id + 10000;
INSERT INTO sales.keys SELECT * FROM last
"""


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """The keys, at rest."""
    with source.serving() as erp:
        erp.database.sql(TABLE.format(rows=source.scaled(ROWS)))
        erp.database.sql("VACUUM ANALYZE sales.keys")

        def ours() -> Sample:
            return program.measure("bench.polling", "compare", erp.dsn, "sales.keys", "sweep", CHANGE)

        def limit() -> Sample:
            return program.measure("bench.polling", "extract", erp.dsn, "sales.keys", "keys")

        yield Readers(ours, limit=limit, notes=(*source.notes(), "pages of 200,000 keys"))


CLAIM = Claim(
    name="sweep",
    about="10 M keys compared with those known",
    measures=(Measure("rate", "rows/s", Target(of_limit=0.5, rss_mb=1024)),),
    open=prepare,
)
