"""`legacy-bridge draft`: a first contract from what a legacy system shows."""

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.options import Stream
from bridge.cli.session import session
from bridge.cli.show import note, say
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.cli.session import Session
    from bridge.config.models import Config
    from bridge.model import Column
    from bridge.sources.view.viewfile import View

_SAMPLE_ROWS = 100  # some databases know the type of a column by its values alone


def draft(
    context: typer.Context,
    *,
    name: Stream,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="COLUMN", help="Of the key, in order, where the view's header names none."),
    ] = None,
) -> None:
    """Print a first contract of a stream: fields, types and key as its view, table or layout shows them.

    What only people know is left empty, and `check` names each line until it is written.
    """
    from bridge.contract.draft import draft as drafted

    opened = session(context)
    config = opened.config(online=True, require_contracts=False)
    declared = config.stream(name)
    columns, known = _shown(opened, config, name, tuple(key or ()))
    missing = [each for each in known if each not in {column.name for column in columns}]
    if missing:
        shown = ", ".join(column.name for column in columns)
        raise ConfigError(f"{declared.origin} has no column {', '.join(missing)}", hint=f"Its columns are: {shown}.")
    say(drafted(name, columns, known, system=declared.system, what=declared.origin).rstrip())
    note(f"Write what is empty, as {declared.contract}, until `legacy-bridge check` finds nothing.")


def _shown(
    opened: "Session", config: "Config", stream: str, key: tuple[str, ...]
) -> "tuple[list[Column], tuple[str, ...]]":
    """The columns of what a stream is read from, and its key."""
    from bridge.cli.layouts import columns
    from bridge.cli.view import reading
    from bridge.extraction.extractor import Question

    declared = config.streams[stream]
    if declared.layout is not None:
        return columns(declared.layout), key
    view = _view(config, stream, key)
    with reading(opened, config, declared.system, {stream: view}) as extractor:
        page = extractor.page(Question(stream, _SAMPLE_ROWS))
    return list(page.shape.columns), key or view.key


def _view(config: "Config", stream: str, key: tuple[str, ...]) -> "View":
    """What shows the stream's rows. Raises: ConfigError where nothing but its contract says what they are."""
    from bridge.extractors import table_view
    from bridge.sources.view.configured import view_of

    declared = config.streams[stream]
    if declared.view is not None:
        return view_of(config, stream)
    if declared.log is None:
        hint = "docs/contracts.md says how one is written; `legacy-bridge init` brings an example."
        raise ConfigError(f"stream {stream} comes by messages: its contract alone says what is in them", hint=hint)
    if not key:
        raise ConfigError(f"the key of {declared.log} is not known", hint="Name its columns: --key COLUMN.")
    return table_view(declared.log, key, dialect=config.systems[declared.system].kind)
