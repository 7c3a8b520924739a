"""Memo files of dBase (DBT) and FoxPro (FPT): the long texts that a table points at by block."""

import mmap
from dataclasses import dataclass
from pathlib import Path

_DBASE_3 = 0x83
_HEAD = 8  # bytes before a memo that say its length
_IN_USE = b"\xff\xff\x08\x00"  # begins a block of dBase IV that holds a memo
_MOST = 1 << 26  # bytes of one memo


@dataclass(frozen=True, slots=True)
class Memo:
    """An open memo file."""

    data: mmap.mmap | bytes
    block: int
    kind: str  # dbt3, dbt4, fpt

    @classmethod
    def beside(cls, path: Path, version: int) -> "Memo | None":
        """The memo file of a table; None where there is none."""
        for suffix in (".fpt", ".FPT", ".dbt", ".DBT"):
            place = path.with_suffix(suffix)
            if place.is_file() and place.stat().st_size:
                with place.open("rb") as file:
                    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                if suffix.lower() == ".fpt":
                    return cls(data, max(1, int.from_bytes(data[6:8], "big")), "fpt")
                if version == _DBASE_3:
                    return cls(data, 512, "dbt3")
                return cls(data, int.from_bytes(data[20:22], "little") or 512, "dbt4")
        return None

    def read(self, number: int) -> bytes | None:
        """The memo that begins at a block; None where none does."""
        at = number * self.block
        if not 0 < at < len(self.data):
            return None
        if self.kind == "dbt3":
            end = self.data.find(b"\x1a", at)
            return self.data[at : end if end >= 0 else len(self.data)]
        if len(self.data) - at < _HEAD or (self.kind == "dbt4" and self.data[at : at + 4] != _IN_USE):
            return None
        if self.kind == "fpt":
            size = int.from_bytes(self.data[at + 4 : at + 8], "big")
        else:
            size = int.from_bytes(self.data[at + 4 : at + 8], "little") - _HEAD
        if not 0 <= size <= min(_MOST, len(self.data) - at - _HEAD):
            return None
        return self.data[at + _HEAD : at + _HEAD + size]
