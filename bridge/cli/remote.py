"""`legacy-bridge --server URL ...`: commands that speak to a running daemon through its HTTP door, as a principal."""

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bridge.cli.door import act, answer, path_of, rows, server_of
from bridge.cli.options import Cursor, OfSink, OfStream, Principal, System
from bridge.cli.show import say, say_json

if TYPE_CHECKING:
    from bridge.cli.client import Server

PAGE = 10_000

remote = typer.Typer(
    help="Ask a running daemon through its HTTP door. The key: --key-file FILE, or LEGACY_BRIDGE_KEY.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
dead = typer.Typer(help="Dead letters: list, show, replay, discard.", no_args_is_help=True)
stream = typer.Typer(help="Streams: list, pause, resume, snapshot.", no_args_is_help=True)
sink = typer.Typer(help="Sinks: list, show, pause, resume, replay, test, breaker, forget.", no_args_is_help=True)
cursor = typer.Typer(help="Named cursors: list, forget.", no_args_is_help=True)
system = typer.Typer(help="Legacy systems: list, pause (the kill switch), resume.", no_args_is_help=True)
runs = typer.Typer(help="Runs of polled streams: list, show, start, cancel.")
remote.add_typer(dead, name="dead")
remote.add_typer(system, name="system")
remote.add_typer(runs, name="runs")
remote.add_typer(stream, name="stream")
remote.add_typer(sink, name="sink")
remote.add_typer(cursor, name="cursor")

Json = Annotated[bool, typer.Option("--json", help="What the door says, as JSON.")]
IsJson = Annotated[bool, typer.Option("--json", show_default=False, help="What is printed is JSON in any case.")]
ActJson = Annotated[bool, typer.Option("--json", help="What became of it, as JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the stream or sink.", show_default=False)]
Letter = Annotated[str, typer.Argument(metavar="ID", help="Id of the letter, like 17 or d4.", show_default=False)]
MaybeLetter = Annotated[str | None, typer.Argument(metavar="ID", help="Id of the letter, like 17 or d4.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be asked of the door, and ask nothing.")]


@remote.callback()
def _options(
    context: typer.Context,
    *,
    server: Annotated[str, typer.Option(metavar="URL", help="Where the door is.", show_default=False)],
    key_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File that holds the key.")] = None,
) -> None:
    from bridge.cli.client import Server

    context.obj = Server.of(server, key_file)


# Below which command, what is listed, the columns that are shown, and the help.
_LISTS: tuple[tuple[typer.Typer, str, str, str], ...] = (
    (stream, "streams", "name system phase since why last parked", "List your streams."),
    (
        sink,
        "sinks",
        "sink kind state behind pending dead_letters why",
        "List the sinks all of whose streams are yours.",
    ),
    (cursor, "cursors", "principal name stream after last is_left", "List everybody's named cursors on your streams."),
    (system, "systems", "system kind paused since by reason", "List the systems all of whose streams are yours."),
)
# Below which command, what it is of, the words behind its name in the path (the last is the act's), and the help.
_ACTS: tuple[tuple[typer.Typer, str, str, str], ...] = (
    (stream, "streams", "pause", "Park a stream's rows from now on."),
    (stream, "streams", "resume", "Let a stream's parked rows through, and go on."),
    (sink, "sinks", "pause", "Send nothing more to a sink."),
    (sink, "sinks", "resume", "Let a paused sink go on."),
    (
        sink,
        "sinks",
        "forget",
        "Forget a sink that is not configured any more, or streams it is not sent: retention waits no longer.",
    ),
    (system, "systems", "resume", "Read a system again, from where it was left."),
    (runs, "streams", "runs cancel", "End the run of a stream."),
)


def _add_list(group: typer.Typer, of: str, columns: str, told: str) -> None:
    @group.command("list", help=told)
    def _list(context: typer.Context, *, as_json: Json = False) -> None:
        answer(server_of(context).get(path_of(of))[of], *columns.split(), as_json=as_json)


def _add_act(group: typer.Typer, of: str, words: str, told: str) -> None:
    @group.command(words.rsplit(maxsplit=1)[-1], help=told)
    def _ask(context: typer.Context, *, name: Name, dry_run: DryRun = False, as_json: ActJson = False) -> None:
        act(context, path_of(of, name, *words.split()), dry_run=dry_run, as_json=as_json)


for _each in _LISTS:
    _add_list(*_each)
for _each in _ACTS:
    _add_act(*_each)


@remote.command()
def status(context: typer.Context, *, as_json: Json = False) -> None:
    """Show your streams, and what is not well with them."""
    server = server_of(context)
    streams, health = server.get("/v1/streams")["streams"], server.get("/v1/health")
    if as_json:
        say_json({"streams": streams, "health": health})
        return
    rows(streams, "name", "phase", "last", "last_journalled_at", "dead_letters", "parked", "why")
    say()
    say(f"daemon: {health['status']}")
    ailing = [{"check": name} | check for name, check in health["checks"].items() if check["status"] != "pass"]
    if ailing:
        rows(ailing, "check", "status", "since", "what", "action")


@remote.command()
def events(
    context: typer.Context,
    *,
    name: Name,
    after: Annotated[int, typer.Option(metavar="SEQ", min=0, help="Only events after this sequence number.")] = 0,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only events of this key.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most this many events.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more, until interrupted.")] = False,
    as_json: IsJson = True,  # noqa: ARG001
) -> None:
    """Print the events of a stream as CloudEvents, one a line, oldest first."""
    server = server_of(context)
    texts = _live(server, name, after=after, key=key) if follow else _paged(server, name, after=after, key=key)
    for text in islice(texts, limit):
        say(text)
        if follow:
            sys.stdout.flush()


def _live(server: "Server", name: str, *, after: int, key: str | None) -> Iterator[str]:
    for text in server.live(path_of("streams", name, "events", "live"), after=after):
        if key is None or json.loads(text).get("subject") == key:
            yield text


def _paged(server: "Server", name: str, *, after: int, key: str | None) -> Iterator[str]:
    more = True
    while more:
        page = server.get(path_of("streams", name, "events"), after=after, key=key, limit=PAGE)
        for event in page["events"]:
            yield json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        more, after = page["next"] > after and bool(page["events"] or key), page["next"]


@dead.command("list")
def list_letters(
    context: typer.Context,
    *,
    kind: Annotated[str, typer.Option(help="rejected or undelivered.")] = "rejected",
    name: Annotated[str | None, typer.Option("--stream", metavar="STREAM", help="Only of this stream.")] = None,
    as_json: Json = False,
) -> None:
    """List open dead letters, oldest first, without values; the first thousand."""
    found = server_of(context).get("/v1/dead-letters", kind=kind, stream=name, limit=1_000)["letters"]
    answer(found, "id", "stream", "key", "created_at", "state", "sink", "cause", as_json=as_json)


@dead.command("show")
def show_letter(context: typer.Context, *, letter: Letter, as_json: IsJson = True) -> None:  # noqa: ARG001
    """Show one dead letter, with the values that are released to you, as JSON."""
    say_json(server_of(context).get(path_of("dead-letters", letter)))


@dead.command("replay")
def replay_letter(
    context: typer.Context,
    *,
    letter: MaybeLetter = None,
    of: OfStream = None,
    undelivered: OfSink = None,
    dry_run: DryRun = False,
    as_json: ActJson = False,
) -> None:
    """Check rejected rows again, or deliver undelivered events again: one letter, or all of a stream or sink."""
    path, body = _letters("replay", letter, of, undelivered)
    act(context, path, body or None, dry_run=dry_run, as_json=as_json)


@dead.command("discard")
def discard_letter(
    context: typer.Context,
    *,
    letter: MaybeLetter = None,
    of: OfStream = None,
    undelivered: OfSink = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept for ever.", show_default=False)],
    dry_run: DryRun = False,
    as_json: ActJson = False,
) -> None:
    """Close letters for good, with a reason: one, or all of a stream or sink."""
    path, body = _letters("discard", letter, of, undelivered)
    act(context, path, body | {"reason": reason}, dry_run=dry_run, as_json=as_json)


def _letters(verb: str, letter: str | None, of: str | None, undelivered: str | None) -> tuple[str, dict[str, Any]]:
    """Where to ask, and which letters are meant."""
    if (letter is None) == (of is None and undelivered is None):
        raise typer.BadParameter("name a letter by ID, or give --stream, --sink or both")
    if letter is not None:
        return path_of("dead-letters", letter, verb), {}
    chosen = {"stream": of, "sink": undelivered}
    return path_of("dead-letters", verb), {name: value for name, value in chosen.items() if value}


@stream.command("snapshot")
def snapshot_stream(
    context: typer.Context,
    *,
    name: Name,
    pause: Annotated[bool, typer.Option("--pause", help="Let the one under way rest.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with it.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give it up; what was read stays journalled.")] = False,
    dry_run: DryRun = False,
    as_json: ActJson = False,
) -> None:
    """Read a stream's table again."""
    if sum([pause, resume, cancel]) > 1:
        raise typer.BadParameter("choose one of --pause, --resume and --cancel")
    verb = ["pause"] * pause + ["resume"] * resume + ["cancel"] * cancel
    act(context, path_of("streams", name, "snapshot", *verb), dry_run=dry_run, as_json=as_json)


@sink.command("show")
def show_sink(context: typer.Context, *, name: Name, as_json: IsJson = True) -> None:  # noqa: ARG001
    """Show one sink whole, as JSON."""
    say_json(server_of(context).get(path_of("sinks", name)))


@sink.command("test")
def try_sink(context: typer.Context, *, name: Name, as_json: ActJson = False) -> None:
    """Send one test event and say what the receiver answered."""
    act(context, path_of("sinks", name, "test"), dry_run=False, as_json=as_json)


@sink.command("breaker")
def force_breaker(
    context: typer.Context,
    *,
    name: Name,
    force: Annotated[Literal["open", "closed", "none"], typer.Argument(help="Which side; none: judge by itself.")],
    dry_run: DryRun = False,
    as_json: ActJson = False,
) -> None:
    """Hold a sink's breaker open or closed, or let it judge by itself."""
    act(context, path_of("sinks", name, "breaker"), {"force": force}, dry_run=dry_run, as_json=as_json)


@sink.command("replay")
def replay_sink(
    context: typer.Context,
    *,
    name: Name,
    of: Annotated[str, typer.Argument(metavar="STREAM", help="Stream to send again.", show_default=False)],
    first: Annotated[int, typer.Option("--from", metavar="SEQ", min=1, help="First sequence number.")],
    last: Annotated[int | None, typer.Option("--to", metavar="SEQ", min=1, help="Last one.")] = None,
    dry_run: DryRun = False,
    as_json: ActJson = False,
) -> None:
    """Send events once more, with the ids they had."""
    span = {"stream": of, "first": first, "last": first if last is None else last}
    act(context, path_of("sinks", name, "replay"), span, dry_run=dry_run, as_json=as_json)


@cursor.command("forget")
def forget_cursor(
    context: typer.Context,
    *,
    principal: Principal,
    name: Cursor,
    dry_run: DryRun = False,
    as_json: ActJson = False,
) -> None:
    """Forget a cursor on every stream: retention waits for it no longer."""
    act(context, path_of("cursors", principal, name), method="DELETE", dry_run=dry_run, as_json=as_json)


@system.command("pause")
def pause_system(
    context: typer.Context,
    *,
    name: Name,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; shown beside the system.")] = "",
    dry_run: DryRun = False,
    as_json: ActJson = False,
) -> None:
    """Stop every read of a system within a second, until it is resumed."""
    act(context, path_of("systems", name, "pause"), {"reason": reason}, dry_run=dry_run, as_json=as_json)


@remote.command()
def bill(
    context: typer.Context,
    *,
    name: System,
    hours: Annotated[int, typer.Option(metavar="N", min=1, max=9_600, help="Hours back, this one included.")] = 24,
    as_json: Json = False,
) -> None:
    """Show what polling asked of a system, by hour and stream."""
    found = server_of(context).get(path_of("systems", name, "bill"), hours=hours)["hours"]
    answer(found, "hour", "stream", "queries", "seconds", "rows", "bytes", as_json=as_json)


@runs.callback(invoke_without_command=True)
def list_runs(
    context: typer.Context,
    *,
    name: Annotated[str | None, typer.Option("--stream", metavar="STREAM", help="Of this stream; needed here.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1_000, help="At most this many.")] = 30,
    as_json: Json = False,
) -> None:
    """List the newest runs of a polled stream, and moments that brought none."""
    if context.invoked_subcommand is not None:
        return
    if name is None:
        raise typer.BadParameter("name a stream with --stream")
    found = server_of(context).get(path_of("streams", name, "runs"), limit=limit)["runs"]
    columns = ("number", "kind", "state", "started_at", "took_s", "usually_s", "rows", "rejected", "cause", "detail")
    answer(found, *columns, as_json=as_json)


@runs.command("show")
def show_run(
    context: typer.Context,
    *,
    number: Annotated[int, typer.Argument(metavar="N", min=1, help="Number of the run.", show_default=False)],
    name: Annotated[str, typer.Option("--stream", metavar="STREAM", help="Of this stream.", show_default=False)],
    as_json: IsJson = True,  # noqa: ARG001
) -> None:
    """Show one run whole, as JSON."""
    say_json(server_of(context).get(path_of("streams", name, "runs", str(number))))


@runs.command("start")
def start_run(
    context: typer.Context,
    *,
    name: Name,
    kind: Annotated[
        Literal["run", "full", "sweep"], typer.Option(help="As its view says; every row; the keys.")
    ] = "run",
    dry_run: DryRun = False,
    as_json: ActJson = False,
) -> None:
    """Read a polled stream as soon as its budget lets it."""
    act(context, path_of("streams", name, "runs"), {"kind": kind}, dry_run=dry_run, as_json=as_json)
