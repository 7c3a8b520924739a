"""`legacy-bridge file`: what a layout says, how a file reads under it, and what became of files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.options import JsonLines
from bridge.cli.session import session
from bridge.cli.show import moment_of, note, say, say_json, table
from bridge.errors import BridgeError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.model import Column
    from bridge.sources.file.layout import Format, Rows

file = typer.Typer(help="Files as a source: layouts, samples, files taken.", no_args_is_help=True)

LayoutPath = Annotated[Path, typer.Argument(metavar="LAYOUT", help="A layout file, or a copybook.")]


class FileNotReadable(BridgeError):
    """A file is not of the layout it was read under, or cannot be read at all."""

    code = "file.not_readable"
    default_hint = "`legacy-bridge file show LAYOUT` lists what the layout expects."
    exit_code = 65


@file.command()
def show(
    *,
    layout: LayoutPath,
    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A file, where columns depend on it (dBase).")
    ] = None,
    as_json: JsonLines = False,
) -> None:
    """List the columns of a layout with place, length and type."""
    columns = [
        {"name": one.name, "from": None if one.offset is None else one.offset + 1, "length": one.length,
         "written": one.type, "type": str(one.arrow)}
        for one in _format(layout, path).shown
    ]  # fmt: skip
    if as_json:
        for column in columns:
            say_json(column)
        return
    table(["column", "from byte", "length", "written as", "type"], [tuple(column.values()) for column in columns])


@file.command()
def sample(
    *,
    layout: LayoutPath,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file, unpacked.")],
    count: Annotated[int, typer.Option("--rows", min=1, max=10_000, help="At most this many rows.")] = 5,
    as_json: JsonLines = False,
) -> None:
    """Decode the first rows of a file: mind who looks over your shoulder.

    A cell that cannot be read is shown as its bytes, a record that is none with the reason. Exit 1 when there is one.
    """
    from bridge.sources.file.layout import FileRefused
    from bridge.sources.file.layoutfile import load
    from bridge.sources.file.reading import Reader

    try:
        reader = Reader(path, load(layout))
        for _ in reader.check():
            pass
        piece = reader.piece(reader.start, tuple(one.name for one in reader.format.shown))
    except FileRefused as refused:
        raise FileNotReadable(f"{path}: {refused}") from refused
    except OSError as error:
        raise FileNotReadable(f"{path}: {error.strerror}", hint="Name a file that can be read.") from error
    found = [] if piece is None else list(_shown(piece.rows, count, first=piece.first.number, start=piece.first.offset))
    for number, offset, fault, values in found:
        if as_json:
            say_json({"record": number, "offset": offset, "fault": fault, "values": values})
            continue
        say(f"record {number}, byte {offset}{f': {fault}' if fault else ''}")
        table(["column", "value"], list(values.items()))
    if not found:
        note(f"{path}: no rows")
    raise typer.Exit(1 if any(fault or _is_damaged(values) for _, _, fault, values in found) else 0)


@file.command("list")
def list_files(
    context: typer.Context,
    *,
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="A system that leaves files.")],
    as_json: JsonLines = False,
) -> None:
    """List the files that were taken or refused last, and the one that is being taken."""
    opened = session(context)
    config = opened.config()
    kind = config.system(system).kind
    if kind != "file":
        hint = f"Systems of files are: {', '.join(config.systems_of('file')) or 'none'}."
        raise ConfigError(f"system {system} leaves no files: it is of the kind `{kind}`", hint=hint)
    with opened.journal(config) as journal:
        _, state = journal.position(system)
    rows: list[dict[str, Any]] = list(state.get("recent", ()))
    taking = state.get("taking")
    if taking and taking["stream"] < len(taking["streams"]):
        now = {"name": taking["name"], "size": taking["size"], "sha256": taking["digest"], "outcome": "being taken"}
        rows.append({**now, "rows": taking["row_count"], "faults": taking["fault_count"], "at": None})
    if as_json:
        for row in rows:
            say_json(row)
        return
    fields = ["name", "size", "outcome", "rows", "faults"]
    shown = [[*(row[one] for one in fields), moment_of(row["at"]), row["sha256"]] for row in rows]
    table(["file", "bytes", "outcome", "rows", "faults", "at", "sha256"], shown)


def _format(layout: Path, path: Path | None) -> "Format":
    from bridge.sources.file.configured import columns_of
    from bridge.sources.file.layout import FileRefused
    from bridge.sources.file.layoutfile import load

    loaded = load(layout)
    if path is None and columns_of(loaded) is None:
        raise FileNotReadable(f"{layout}: each file says its columns itself", hint="Name a file as well.")
    try:
        return _bare(loaded) if path is None else loaded.begin(path)
    except FileRefused as refused:
        raise FileNotReadable(f"{path}: {refused}") from refused
    except OSError as error:
        raise FileNotReadable(f"{path}: {error.strerror}", hint="Name a file that can be read.") from error


def columns(layout: Path) -> list["Column"]:
    """The columns that every file of a layout has. Raises: ConfigError, FileNotReadable."""
    from bridge.model import Column

    return [Column(one.name, one.type, one.arrow) for one in _format(layout, None).shown]


def _bare(layout: Any) -> "Format":  # noqa: ANN401  a layout whose files all have the same columns
    from bridge.sources.file.delimited import Delimited, Table

    return Table(layout, (), 0) if isinstance(layout, Delimited) else layout.flat


def _shown(
    rows: "Rows", count: int, *, first: int, start: int
) -> "Iterator[tuple[int, int, str | None, dict[str, Any]]]":  # number, offset, fault, values
    raw = {
        name: {int(row): cell for row, cell in zip(marks.rows, marks.raw, strict=True)}
        for name, marks in rows.marks.items()
    }
    for row in range(min(count, rows.frames.count)):
        values = {}
        for name, column in rows.columns.items():
            cell = raw.get(name, {}).get(row)
            value = column[row].as_py()
            values[name] = f"(unreadable) {cell.hex()}" if cell is not None else value
        yield int(rows.numbers[row]) + first, int(rows.frames.starts[row]) + start, rows.faults.get(row), values


def _is_damaged(values: dict[str, Any]) -> bool:
    return any(isinstance(value, str) and value.startswith("(unreadable) ") for value in values.values())
