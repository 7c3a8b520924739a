"""10 M keys compared with those known, some gone and some new; the limit extracts the same keys alone."""

from functools import partial

from bench import source
from bench.claim import Claim, Measure, Target
from bench.known import Known

ROWS = 10_000_000
TABLE = """
CREATE TABLE sales.keys (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL);
GRANT SELECT ON sales.keys TO bridge_ro;
INSERT INTO sales.keys SELECT n, timestamptz '2020-01-01 08:00+00' + n * interval '1 second'
FROM generate_series(1, {rows}) n;
CREATE INDEX ON sales.keys (updated_at, id)
"""
KEYS = Known(
    "sales.keys",
    "sweep",
    "keys",
    update="updated_at = now()",
    every=100_000,
    moved=1_000,
    note="pages of 200,000 keys",
)


def fill(erp: source.Source) -> None:
    """The keys."""
    erp.database.sql(TABLE.format(rows=source.scaled(ROWS)))


CLAIM = Claim(
    name="sweep",
    about="10 M keys compared with those known",
    measures=(Measure("rate", "rows/s", Target(of_limit=0.5, rss_mb=1024)),),
    open=partial(KEYS.prepared, fill),
)
