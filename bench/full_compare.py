"""A table of 1 M orders compared with what was read before, a thousandth of it changed; the limit extracts it alone."""

from functools import partial

from bench import source
from bench.claim import Claim, Measure, Target
from bench.known import Known

ROWS = 1_000_000
ORDERS = Known(
    source.TABLE,
    "full",
    "rows",
    update="amount = amount + 1",
    every=1_250,
    moved=100,
    note="pages of 50,000 rows",
)


def fill(erp: source.Source) -> None:
    """The orders."""
    erp.fill(source.scaled(ROWS), rows_per_transaction=10_000)


CLAIM = Claim(
    name="full_compare",
    about="1 M rows of 12 columns compared with what was read before, 0.1 % changed",
    measures=(Measure("rate", "rows/s", Target(of_limit=0.5, rss_mb=1024)),),
    open=partial(ORDERS.prepared, fill),
)
