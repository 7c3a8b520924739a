"""`legacy-bridge view`: look at the views that streams are read by, before and while they are."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.options import Json, Stream
from bridge.cli.runs import start
from bridge.cli.session import session
from bridge.cli.show import note, say, say_json, span, table
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.cli.session import Session
    from bridge.config.models import Config
    from bridge.sources.view.explain import Explained
    from bridge.sources.view.extractor import ViewExtractor
    from bridge.sources.view.viewfile import View

view = typer.Typer(help="Views that streams are read by: lint, explain, sample, run.", no_args_is_help=True)

_SHOWN = 60


@view.command()
def lint(
    context: typer.Context,
    *,
    name: Annotated[str | None, typer.Argument(metavar="[STREAM]", help="One stream; else all.")] = None,
    as_json: Json = False,
) -> None:
    """Check view files without a database: header, SQL, functions.

    Every mistake with file and line; exit 78 when there is one. Warnings are things that work and are careless.
    """
    config = session(context).config(require_contracts=False)
    names = [name] if name else [stream for stream, each in config.streams.items() if each.view is not None]
    told = [_Told(stream, *_linted(config, stream)) for stream in names]
    if as_json:
        say_json([{**asdict(one), "ok": not one.mistakes} for one in told])
    else:
        for one in told:
            for text in one.mistakes:
                note(f"error: {text}")
            for text in one.warnings:
                note(f"warning: {text}")
            if not one.mistakes:
                say(f"{one.stream}: no mistakes; reads {', '.join(one.tables) or 'no table'}")
    raise typer.Exit(ConfigError.exit_code if any(one.mistakes for one in told) else 0)


@view.command()
def explain(context: typer.Context, *, name: Stream, as_json: Json = False) -> None:
    """Show what reading a view would cost: the database's plan and estimate, and what the budget makes of it.

    Nothing of the view is run.
    """
    opened = session(context)
    config = opened.config(online=True, require_contracts=False)
    _require_told(config, name)
    with _of_stream(opened, config, name) as extractor:
        found = extractor.explain(name)
    assert found is not None  # noqa: S101  its kind is told
    budget = config.systems[config.streams[name].system].budget
    allowed = {
        "active_seconds_per_minute": budget.active_seconds_per_minute,
        "rows_per_run": budget.rows_per_run or None,
        "runs_for_everything": _runs(found.rows, budget.rows_per_run),
    }
    if as_json:
        say_json({"stream": name, **asdict(found), "pages": found.pages, "budget": allowed})
    else:
        _say_explained(found, allowed)


@view.command()
def sample(
    context: typer.Context,
    *,
    name: Stream,
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=1, max=1000, help="Rows at most.")] = 10,
    as_json: Json = False,
) -> None:
    """Read the first rows of a view, exactly as a run would, and show them with their types. Nothing is journalled."""
    from bridge.extraction.extractor import Question

    opened = session(context)
    config = opened.config(online=True, require_contracts=False)
    with _of_stream(opened, config, name) as extractor:
        page = extractor.page(Question(name, rows))
    columns = [{"name": column.name, "type": column.type, "arrow": str(column.arrow)} for column in page.shape.columns]
    found = page.columns.to_pylist()
    if as_json:
        say_json({"stream": name, "columns": columns, "rows": found, "seconds": page.seconds, "bytes": page.size_bytes})
        return
    table(page.shape.names(), [[_short(value) for value in row.values()] for row in found])
    note(f"{len(found)} rows, {page.size_bytes} bytes in {span(page.seconds)}")
    for name_, marks in page.marks.items():
        note(f"{name_}: {marks.rows.size} values that no column of its type can hold; they are kept as they came")
    table(["column", "type", "arrow"], [list(column.values()) for column in columns])


view.command("run")(start)


@dataclass(frozen=True, slots=True)
class _Told:
    """What lint says of one stream's view."""

    stream: str
    mistakes: list[str]
    warnings: list[str]
    tables: list[str]


def mistakes(config: "Config") -> Iterator[str]:
    """What is wrong with each view of a configuration, with file and line."""
    from bridge.config.mistakes import each
    from bridge.sources.view.configured import view_of

    for stream, declared in config.streams.items():
        if declared.view is not None:
            try:
                view_of(config, stream)
            except ConfigError as error:
                yield from each(error)


def warnings(config: "Config") -> Iterator[str]:
    """Contracts whose key leaves out a column of their view's: rows that differ in it alone are one row to them."""
    from bridge.contract.document import load
    from bridge.sources.view.configured import view_of

    for stream, declared in config.streams.items():
        if declared.view is None:
            continue
        contract, view = load(declared.contract), view_of(config, stream)
        named = {column.lower() for column in contract.key_columns}
        missing = [column for column in view.key if column.lower() not in named]
        if missing and contract.key_fields:
            yield (
                f"{contract.file}: its key leaves out {', '.join(missing)}, of view {view.path.name}'s: rows that"
                " differ in nothing else are one row to whoever reads the events"
            )


def _linted(config: "Config", stream: str) -> tuple[list[str], list[str], list[str]]:
    """Mistakes, warnings and tables of a stream's view."""
    from bridge.config.mistakes import each
    from bridge.sources.view.configured import look_at

    try:
        view, found = look_at(config, stream)
        if not found.mistakes:
            view.given(config.streams[stream].parameters)
    except ConfigError as error:
        return each(error), [], []
    return list(map(str, found.mistakes)), list(map(str, found.warnings)), list(found.tables)


@contextmanager
def reading(opened: "Session", config: "Config", system: str, views: "Mapping[str, View]") -> Iterator["ViewExtractor"]:
    """What reads views of a system, connected.

    Raises: ConfigError, SourceUnavailable, SourceRefused; Declined where an operator has paused the system.
    """
    from bridge.extractors import build_extractor
    from bridge.halt import require_running

    if config.bridge.journal.sqlite.exists():  # without a journal nobody has
        with opened.journal(config) as journal:
            require_running(journal, system)
    extractor = build_extractor(config, system, views)
    try:
        extractor.open()
        yield extractor
    finally:
        extractor.close()


def _of_stream(opened: "Session", config: "Config", stream: str) -> "AbstractContextManager[ViewExtractor]":
    """What reads a stream's view."""
    from bridge.sources.view.configured import view_of

    view = view_of(config, stream)
    return reading(opened, config, config.streams[stream].system, {stream: view})


def _require_told(config: "Config", stream: str) -> None:
    """Raises: ConfigError where plans of the stream's database are not read; nothing is asked of it then."""
    from bridge.sources.view.configured import dialect_of
    from bridge.sources.view.explain import TOLD

    dialect_of(config, stream)
    kind = config.systems[config.streams[stream].system].kind
    if kind not in TOLD:
        raise ConfigError(
            f"plans of a system of the kind `{kind}` are not read: no server of it was at hand",
            hint="Have its DBA explain the view's SELECT in the order of its key; `view sample` shows what pages take.",
        )


def _runs(rows: int | None, most: int) -> int | None:
    """Runs that a whole reading takes; None where nobody says how many rows there are."""
    if not most:
        return 1
    return None if rows is None else -(-rows // most)


def _say_explained(found: "Explained", allowed: dict[str, Any]) -> None:
    if found.rows is None:
        say(f"the database says neither how many rows there are nor what they cost; pages of {found.page_rows} rows")
    else:
        say(f"about {found.rows} rows{_costs(found.cost)} to read at once")
        say(f"{found.pages} pages of {found.page_rows} rows{_costs(found.page_cost)} for the first")
    for step in found.page:
        rows = "" if step.rows is None else f"  rows={step.rows:.0f}"
        cost = "" if step.cost is None else f" cost={step.cost:.0f}"
        say(f"  {'  ' * step.depth}{step.what}{rows}{cost}")
    most, runs = allowed["rows_per_run"], allowed["runs_for_everything"]
    limit = f"{most} rows a run" if most else "any number of rows"
    limit += f": {runs} runs for everything" if most and runs else ""
    say(f"the budget allows {allowed['active_seconds_per_minute']:g} s at work in each minute, {limit}")
    for warning in found.warnings:
        note(f"warning: {warning}")


def _costs(cost: float | None) -> str:
    return "" if cost is None else f", cost {cost:.0f}"


def _short(value: object) -> object:
    text = "" if value is None else str(value)
    return value if len(text) <= _SHOWN else text[:_SHOWN] + "…"
