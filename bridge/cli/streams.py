"""`legacy-bridge stream` and `legacy-bridge snapshot`: hold a stream, let it go on, and read its table again."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.ask import Outcome, ask
from bridge.cli.options import DryRun, Json, Stream, Yes
from bridge.cli.session import session
from bridge.cli.show import note, on_terminal, say_json, table

if TYPE_CHECKING:
    from bridge.cli.session import Session
    from bridge.ports import Journal

PROGRESS_S = 0.2

stream = typer.Typer(help="Streams: list, pause, resume, remove.", no_args_is_help=True)


@stream.command("list")
def list_streams(context: typer.Context, *, as_json: Json = False) -> None:
    """List the streams with their phase, what is journalled and what is parked."""
    opened = session(context)
    config = opened.config()
    with opened.journal(config) as journal:
        states, extents, parked = journal.stream_states(), journal.extents(), journal.parked_counts()
    rows = []
    for name in sorted({*config.streams, *states, *extents}):
        state, extent, declared = states.get(name), extents.get(name), config.streams.get(name)
        rows.append(
            {
                "stream": name,
                "system": declared.system if declared else None,
                "table": declared.origin if declared else None,
                "phase": str(state.phase) if state else "running" if declared else "removed",
                "since": state.since if state else None,
                "why": state.why if state else "",
                "events": extent.last if extent else 0,
                "parked": parked.get(name, 0),
            }
        )
    if as_json:
        say_json(rows)
    else:
        headings = ["stream", "system", "table", "phase", "since", "why", "events", "parked"]
        table(headings, [list(row.values()) for row in rows])


@stream.command()
def pause(context: typer.Context, *, name: Stream, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Park a stream's rows from now on; the others flow."""
    _act(session(context), "stream.pause", name, dry_run=dry_run, as_json=as_json)


@stream.command()
def resume(context: typer.Context, *, name: Stream, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Replay a stream's parked rows in order, and let it flow again."""
    _act(session(context), "stream.resume", name, dry_run=dry_run, as_json=as_json)


@stream.command()
def remove(
    context: typer.Context,
    *,
    name: Stream,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Forget a stream that is not configured.

    Its phase and its parked rows; its events stay until retention takes them. Take it out of the configuration first.
    """
    if not (yes or dry_run):
        typer.confirm(f"Forget the state and the parked rows of {name}?", abort=True, err=True)
    _act(session(context), "stream.remove", name, dry_run=dry_run, as_json=as_json, must_exist=False)


def snapshot(
    context: typer.Context,
    *,
    name: Stream,
    pause: Annotated[bool, typer.Option("--pause", help="Hold the re-read that runs.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with it.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give it up; what was read stays journalled.")] = False,
    wait: Annotated[
        bool | None,
        typer.Option("--wait/--no-wait", help="Wait until all rows are read; the default on a terminal."),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Read a stream's table again.

    Beside the running stream and without locks, with progress on a terminal. Without a daemon the request waits for
    one.
    """
    if sum([pause, resume, cancel]) > 1:
        raise typer.BadParameter("choose one of --pause, --resume and --cancel")
    verb = "pause" if pause else "resume" if resume else "cancel" if cancel else "start"
    opened = session(context)
    before = _number(opened, name)
    outcome = _act(opened, f"snapshot.{verb}", name, dry_run=dry_run, as_json=as_json)
    wants_wait = on_terminal() if wait is None else wait
    if outcome is not None and outcome.done and verb in ("start", "resume") and wants_wait:
        _watch(opened, name, number=before + 1 if verb == "start" else before)


def _act(
    opened: "Session", kind: str, name: str, *, dry_run: bool, as_json: bool = False, must_exist: bool = True
) -> Outcome | None:
    """Ask for one thing on one stream and say what became of it; None on a dry run."""
    if must_exist:
        opened.config().stream(name)
    if dry_run:
        note(f"would ask for {kind} on {name}")
        return None
    outcome = ask(opened, kind, {"stream": name})
    if outcome.done and as_json:
        say_json(dict(outcome.result))
    elif as_json:
        say_json({"stream": name, "waits": "for a daemon"})
    elif outcome.done:
        details = ", ".join(f"{key}: {value}" for key, value in outcome.result.items() if value not in (None, name))
        note(f"{name}: {kind} done" + (f" ({details})" if details else ""))
    else:
        note(f"{name}: {kind} is queued; no daemon runs, and the next one to start does it")
    return outcome


def _number(opened: "Session", name: str) -> int:
    """The number of the stream's newest re-read; 0 before the first."""
    config = opened.config()
    if name not in config.streams:
        return 0
    with opened.journal(config) as journal:
        return int(_state(journal, config.streams[name].system, name).get("number", 0))


def _state(journal: "Journal", system: str, name: str) -> dict[str, Any]:
    """What the journal knows of the stream's newest re-read; empty before the first."""
    found: dict[str, Any] = journal.position(system)[1].get("snapshots", {}).get(name) or {}
    return found


def _watch(opened: "Session", name: str, *, number: int) -> None:
    """Follow a re-read until it is over; Ctrl-C stops watching, not the re-read."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    config = opened.config()
    with opened.journal(config) as journal:
        shown = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        with Progress(*shown, console=Console(stderr=True), disable=not on_terminal()) as progress:
            bar = progress.add_task(f"reading {config.streams[name].origin}", total=None)
            for state in _progress(journal, config.streams[name].system, name, number=number):
                progress.update(bar, completed=state.get("rows", 0), total=state.get("of") or None)


def _progress(journal: "Journal", system: str, name: str, *, number: int) -> Iterator[dict[str, Any]]:
    """The states of a re-read, or of one planned after it, as they are journalled until it is over."""
    while True:
        state = _state(journal, system, name)
        if state.get("number", 0) >= number:
            yield state
            if state["phase"] in ("done", "cancelled"):
                return
        time.sleep(PROGRESS_S)
