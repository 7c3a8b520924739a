"""`legacy-bridge sink`: where every way out stands; hold one, let it go on, send something again, try it."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bridge.cli.ask import ask
from bridge.cli.options import DryRun, Json, Yes
from bridge.cli.session import session
from bridge.cli.show import note, say, say_json, say_result, table
from bridge.errors import NoSuchName

if TYPE_CHECKING:
    from bridge.cli.session import Session

SHOWN_ATTEMPTS = 10

sink = typer.Typer(help="Sinks: list, show, pause, resume, replay, test, breaker, forget.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="SINK", help="Name of the sink.", show_default=False)]


@sink.command("list")
def list_sinks(context: typer.Context, *, as_json: Json = False) -> None:
    """List the sinks: state, how far behind, what waits, dead letters."""
    found = _standings(session(context))
    if as_json:
        say_json(found)
        return
    headings = ["sink", "kind", "state", "streams", "behind", "waiting", "dead", "why"]
    rows = [
        (
            one["sink"],
            one["kind"],
            one["state"],
            ", ".join(one["streams"]),
            one["behind"],
            one["pending"],
            one["dead_letters"],
            _why(one),
        )
        for one in found
    ]
    table(headings, rows)


@sink.command()
def show(
    context: typer.Context,
    *,
    name: Name,
    attempts: Annotated[int, typer.Option(metavar="N", min=0, help="Last attempts shown.")] = SHOWN_ATTEMPTS,
    as_json: Json = False,
) -> None:
    """Show one sink: each stream's cursor, breaker, replays, and the last attempts of the delivery log."""
    opened = session(context)
    found = next((one for one in _standings(opened) if one["sink"] == name), None)
    if found is None:
        raise _unknown(opened, name)
    found["attempts"] = _attempts(opened, name, attempts)
    if as_json:
        say_json(found)
        return
    say(f"{name}: {found['state']}" + (f" ({_why(found)})" if _why(found) else ""))
    say()
    streams = [
        (stream, one["cursor"], one["last"], one["behind"], one["pending"]) for stream, one in found["streams"].items()
    ]
    table(["stream", "cursor", "last event", "behind", "waiting"], streams)
    if found["replays"]:
        say()
        replays = [(one["stream"], one["first"], one["last"], one["cursor"], one["actor"]) for one in found["replays"]]
        table(["replay of", "first", "last", "at", "asked by"], replays)
    if found["attempts"]:
        say()
        names = ["at", "stream", "number", "try_number", "outcome", "duration_ms", "detail"]
        table(names, [[one[column] for column in names] for one in found["attempts"]])


@sink.command()
def pause(
    context: typer.Context,
    *,
    name: Name,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; shown beside the sink.")] = "",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Send nothing more to a sink; events wait in the journal, other sinks go on."""
    _act(session(context), "sink.pause", {"sink": name, "reason": reason}, dry_run=dry_run, as_json=as_json)


@sink.command()
def resume(context: typer.Context, *, name: Name, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Let a paused sink go on, or try a receiver again that said it was gone."""
    _act(session(context), "sink.resume", {"sink": name}, dry_run=dry_run, as_json=as_json)


@sink.command()
def replay(
    context: typer.Context,
    *,
    name: Name,
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="Stream to send again.", show_default=False)],
    first: Annotated[int, typer.Option("--from", metavar="SEQ", min=1, help="First sequence number.")],
    last: Annotated[
        int | None, typer.Option("--to", metavar="SEQ", min=1, help="Last; that one when left out.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Send events once more, with the ids they had: a receiver that keeps ids sees nothing new.

    What is replayed is older than what the sink was sent since; receivers tell by `sequence`.
    """
    end = first if last is None else last
    if end < first:
        raise typer.BadParameter("is before --from", param_hint="--to")
    args = {"sink": name, "stream": stream, "first": first, "last": end}
    opened = session(context)
    if dry_run:
        opened.config().stream(stream)
        if name not in opened.config().sinks:
            raise _unknown(opened, name)
        note(f"would send {end - first + 1} events of {stream} to {name} again")
        return
    _act(opened, "sink.replay", args, dry_run=False, as_json=as_json)


@sink.command("test")
def try_out(context: typer.Context, *, name: Name, as_json: Json = False) -> None:
    """Send one test event (type ending in `.bridge.test`) and say what the receiver answered. Needs the daemon."""
    result = ask(session(context), "sink.test", {"sink": name}).result
    if as_json:
        say_json(dict(result))
    else:
        say(f"{name}: {'ok' if result['ok'] else 'failed'} in {result['took_ms']:.0f} ms {result['detail']}".rstrip())
    if not result["ok"]:
        raise typer.Exit(1)


@sink.command()
def breaker(
    context: typer.Context,
    *,
    name: Name,
    force: Annotated[Literal["open", "closed", "none"], typer.Argument(help="Which side; none: judge by itself.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Hold a sink's breaker open (send nothing) or closed (send whatever happens), or let it judge by itself."""
    _act(session(context), "sink.breaker", {"sink": name, "force": force}, dry_run=dry_run, as_json=as_json)


@sink.command()
def forget(
    context: typer.Context,
    *,
    name: Name,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Forget a sink that is not configured any more, or streams it is not sent: retention waits no longer."""
    if not (yes or dry_run):
        typer.confirm(f"Forget how far {name} was with what it is sent no more?", abort=True, err=True)
    _act(session(context), "sink.forget", {"sink": name}, dry_run=dry_run, as_json=as_json)


def _attempts(opened: "Session", name: str, count: int) -> list[dict[str, Any]]:
    """The newest attempts of a sink."""
    from dataclasses import asdict

    from bridge.journal.attempts import AttemptLog, beside

    log = AttemptLog(beside(opened.config().bridge.journal.sqlite))
    try:
        return [asdict(attempt) for _, attempt in log.find(sink=name, limit=count)] if count else []
    finally:
        log.close()


def _standings(opened: "Session") -> list[dict[str, Any]]:
    from bridge.standing import standings, state_of

    config = opened.config()
    with opened.journal(config) as journal:
        return [{**one, "state": state_of(one)} for one in standings(journal, config)]


def _unknown(opened: "Session", name: str) -> NoSuchName:
    known = ", ".join(sorted(opened.config().sinks)) or "none"
    return NoSuchName(f"there is no sink {name!r}", hint=f"The sinks are: {known}.")


def _why(standing: dict[str, Any]) -> str:
    gone = standing["gone"]
    return str(gone["why"] if gone else standing["why"] or standing["breaker"]["why"])


def _act(opened: "Session", kind: str, args: dict[str, Any], *, dry_run: bool, as_json: bool) -> None:
    """Ask for one thing on one sink and say what became of it."""
    config = opened.config()
    if kind != "sink.forget" and args["sink"] not in config.sinks:
        raise _unknown(opened, args["sink"])
    if dry_run:
        note(f"would ask for {kind} on {args['sink']}")
        return
    say_result(ask(opened, kind, args).result, as_json=as_json)
