"""Layouts and files made in a test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.sources.file import layoutfile
from bridge.sources.file.layout import Format, Rows


def begun(folder: Path, layout: str, data: bytes = b"", *, name: str = "data.txt") -> Format:
    """The format of a file with this layout and content."""
    (folder / "layout.yaml").write_text(layout)
    (folder / name).write_bytes(data)
    return layoutfile.load(folder / "layout.yaml").begin(folder / name)


def rows_of(format_: Format, data: bytes, wanted: Sequence[str] | None = None) -> Rows:
    """Every row of a file at once."""
    names = [shown.name for shown in format_.shown] if wanted is None else wanted
    return format_.rows(format_.frame(data[format_.start : format_.end], at_end=True), names)


def table(rows: Rows) -> list[tuple[Any, ...]]:
    """The values of every row."""
    return list(zip(*(column.to_pylist() for column in rows.columns.values()), strict=True))
