"""A backlog of large transactions: 1 M rows of 12 columns, contract with ten rules and journal on."""

from bench.claim import Claim, Measure, Target
from bench.throughput import draining

CLAIM = Claim(
    name="pg_bulk",
    about="1 M rows in transactions of 10,000",
    measures=(Measure("rate", "rows/s", Target(of_limit=0.85, of_peer=6, rss_mb=350)),),
    open=draining(1_000_000, rows_per_transaction=10_000),
)
