"""The layout of records whose fields stand at places: the same for every file."""

from codecs import BOM_UTF8
from dataclasses import dataclass, replace
from pathlib import Path

from bridge.sources.file.layout import Flat, Trailer


@dataclass(frozen=True, slots=True)
class Positions:
    """See `Layout`."""

    flat: Flat
    header_records: int = 0
    trailer: Trailer | None = None

    def begin(self, path: Path) -> Flat:
        """See the port. Of a file its byte order mark is looked at, where lines of text may have one."""
        if not self.flat.fills_up or self.flat.reading.page.is_ebcdic:
            return self.flat
        with path.open("rb") as file:
            is_marked = file.read(len(BOM_UTF8)) == BOM_UTF8
        return replace(self.flat, start=len(BOM_UTF8)) if is_marked else self.flat
