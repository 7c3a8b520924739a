"""How a command asks the HTTP door, and what it shows of the answer."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import typer

from bridge.cli.show import moment_of, note, say_json, say_result, table

if TYPE_CHECKING:
    from bridge.cli.client import Server


def server_of(context: typer.Context) -> "Server":
    """The door, as the command line names it."""
    found: Server = context.obj
    return found


def act(
    context: typer.Context,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    dry_run: bool,
    as_json: bool,
    method: Literal["POST", "DELETE"] = "POST",
) -> None:
    """Ask for one thing and say what became of it."""
    server = server_of(context)
    if dry_run:
        said = f" with {json.dumps(body)}" if body else ""
        note(f"would ask {server.url} for {method} {path}{said}")
        return
    result = server.post(path, body, method=method)
    told = {name: value for name, value in result.items() if value is not None}
    if as_json or told:
        say_result(result if as_json else told, as_json=as_json)
    else:
        note("done")


def path_of(*parts: str) -> str:
    """Where something is, below the door; every part is quoted."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def answer(found: list[dict[str, Any]], *names: str, as_json: bool) -> None:
    """Show a list: as it came, or these fields as a table."""
    if as_json:
        say_json(found)
    else:
        rows(found, *names)


def rows(found: list[dict[str, Any]], *names: str) -> None:
    """These fields as a table."""
    table(
        [name.replace("_", " ") for name in names], [[_shown(name, one.get(name)) for name in names] for one in found]
    )


def _shown(name: str, value: Any) -> object:  # noqa: ANN401  JSON
    """A value for people: the door's times are text."""
    return moment_of(value) if name.endswith("_at") or name in ("since", "hour") else value
