"""A busy system: 200 k transactions of one row."""

from bench.claim import Claim, Measure, Target
from bench.throughput import draining

CLAIM = Claim(
    name="pg_small",
    about="200 k transactions of one row",
    measures=(Measure("rate", "tx/s", Target(of_limit=0.75, of_peer=5)),),
    open=draining(200_000, rows_per_transaction=1),
)
