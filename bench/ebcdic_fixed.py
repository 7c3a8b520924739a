"""A file of 1 GB on its way in: copied and hashed, its EBCDIC records decoded, its windows thrown away."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import host_file
from bench.claim import Claim, Measure, Readers, Target
from bench.program import measure
from bench.source import scaled

BYTES = 1_000_000_000


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """One file; the limit reads it and throws it away."""
    with tempfile.TemporaryDirectory(prefix="legacy-bridge-bench-") as name:
        count = scaled(BYTES) // host_file.LENGTH
        host_file.make(Path(name), count)

        yield Readers(
            ours=lambda: measure("bench.host_file", "source", name, "all"),
            limit=lambda: measure("bench.host_file", "read", name, "all"),
            notes=(
                f"{count:,} records of {host_file.LENGTH} bytes, {host_file.FIELDS} fields, cp037, all of them read",
            ),
        )


CLAIM = Claim(
    name="ebcdic/fixed",
    about="a large file of EBCDIC records, from its folder to windows",
    measures=(Measure("rate", "MB/s", Target(at_least=100)),),
    open=prepare,
)
