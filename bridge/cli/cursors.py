"""`legacy-bridge cursor`: how far clients of the HTTP door have come; give up one that nobody moves any more."""

import typer

from bridge.cli.ask import ask
from bridge.cli.options import Cursor, DryRun, Json, Principal, Yes
from bridge.cli.session import session
from bridge.cli.show import note, say_json, say_result, table

cursor = typer.Typer(help="Named cursors of the HTTP door's clients: list, forget.", no_args_is_help=True)

HEADINGS = {"principal": "principal", "name": "cursor", "stream": "stream", "after": "after", "last": "last event",
            "is_left": "left behind"}  # fmt: skip


@cursor.command("list")
def list_cursors(context: typer.Context, *, as_json: Json = False) -> None:
    """List named cursors, stream by stream; one whose principal is gone, or sees the stream no more, is left behind."""
    from bridge.standing import cursors

    opened = session(context)
    config = opened.config()
    with opened.journal(config) as journal:
        found = cursors(journal, config)
    if as_json:
        say_json(found)
    else:
        table(list(HEADINGS.values()), [[one[name] for name in HEADINGS] for one in found])


@cursor.command()
def forget(
    context: typer.Context,
    *,
    principal: Principal,
    name: Cursor,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Forget a cursor on every stream: retention waits for it no longer; a client that still uses it begins anew."""
    if dry_run:
        note(f"would ask for cursor.forget on {principal}/{name}")
        return
    if not yes:
        typer.confirm(f"Forget how far {principal} was with {name}?", abort=True, err=True)
    result = ask(session(context), "cursor.forget", {"principal": principal, "name": name}).result
    say_result(result, as_json=as_json)
