"""Decoding COBOL records with packed fields; the peer is a plain decoder in Python, field by field."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import host_file
from bench.claim import Claim, Measure, Readers, Target
from bench.program import measure
from bench.source import scaled

RECORDS = 1_000_000
PEER_RECORDS = 50_000  # its rate does not depend on how many there are


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A file of records in a folder of its own; every reader decodes every field into columns, or into a mapping."""
    with tempfile.TemporaryDirectory(prefix="legacy-bridge-bench-") as name:
        folder = Path(name)
        count = scaled(RECORDS)
        host_file.make(folder, count)

        yield Readers(
            ours=lambda: measure("bench.host_file", "columns", name, "all"),
            peer=lambda: measure("bench.host_file", "plain", name, str(min(count, PEER_RECORDS))),
            notes=(
                f"{count:,} records of {host_file.LENGTH} bytes, {host_file.FIELDS} fields, cp037",
                "peer: a loop over records and fields, Decimal and bytes.decode",
            ),
        )


CLAIM = Claim(
    name="cobol",
    about="COBOL records with packed fields to columns",
    measures=(Measure("rate", "records/s", Target(of_peer=30)),),
    open=prepare,
)
