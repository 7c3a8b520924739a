"""Checking ten rules: batches of 8,192 rows, and a batch of one; the peer is the faster of two row-wise validators."""

import contextlib
from collections.abc import Iterator

from bench import contract_check
from bench.claim import Claim, Measure, Readers, Sample, Target

PEERS = ("pydantic_rows_per_s", "jsonschema_rows_per_s")


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """One pass measures ours and both peers in turns; the peer's reader gives what that pass found."""
    found: dict[str, float] = {}

    def ours() -> Sample:
        found.update(contract_check.run(1))
        return Sample({"rate": found["rows_per_s"], "single": found["one_row_us"] / 1e3})

    def peer() -> Sample:
        return Sample({"rate": max(found[name] for name in PEERS)})

    yield Readers(ours, peer=peer, notes=("peer: the faster of pydantic's TypeAdapter and jsonschema-rs",))


CLAIM = Claim(
    name="contract_check",
    about="ten rules over batches of 8,192 rows and of one",
    measures=(
        Measure("rate", "rows/s", Target(at_least=3_000_000)),
        Measure("single", "ms", Target(at_most=1)),
    ),
    open=prepare,
)
