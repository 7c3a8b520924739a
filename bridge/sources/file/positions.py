"""The layout of records whose fields stand at places: the same for every file."""

from dataclasses import dataclass
from pathlib import Path

from bridge.sources.file.layout import Flat, Trailer


@dataclass(frozen=True, slots=True)
class Positions:
    """See `Layout`."""

    flat: Flat
    header_records: int = 0
    trailer: Trailer | None = None

    def begin(self, path: Path) -> Flat:  # noqa: ARG002  a file says nothing of its own
        """See the port."""
        return self.flat
