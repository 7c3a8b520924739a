"""`legacy-bridge --server URL ...`: commands that speak to a running daemon through its HTTP door, as a principal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from bridge.cli.show import note, say, say_json, table

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
sink = typer.Typer(help="Sinks: list, show, pause, resume, replay, test.", no_args_is_help=True)
remote.add_typer(dead, name="dead")
remote.add_typer(stream, name="stream")
remote.add_typer(sink, name="sink")

Json = Annotated[bool, typer.Option("--json", help="What the door says, as JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the stream or sink.", show_default=False)]
Letter = Annotated[str, typer.Argument(metavar="ID", help="Id of the letter, like 17 or d4.", show_default=False)]


@remote.callback()
def _options(
    context: typer.Context,
    *,
    server: Annotated[str, typer.Option(metavar="URL", help="Where the door is.", show_default=False)],
    key_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File that holds the key.")] = None,
) -> None:
    from bridge.cli.client import Server

    context.obj = Server.of(server, key_file)


def _server(context: typer.Context) -> "Server":
    found: Server = context.obj
    return found


@remote.command()
def status(context: typer.Context, *, as_json: Json = False) -> None:
    """Show your streams, and what is not well with them."""
    server = _server(context)
    streams, health = server.get("/v1/streams")["streams"], server.get("/v1/health")
    if as_json:
        say_json({"streams": streams, "health": health})
        return
    _rows(streams, "name", "phase", "last", "last_journalled_at", "dead_letters", "parked", "why")
    say()
    say(f"daemon: {health['status']}")
    ailing = [{"check": name} | check for name, check in health["checks"].items() if check["status"] != "pass"]
    if ailing:
        _rows(ailing, "check", "status", "since", "what", "action")


@remote.command()
def events(
    context: typer.Context,
    *,
    name: Name,
    after: Annotated[int, typer.Option(metavar="SEQ", min=0, help="Only events after this sequence number.")] = 0,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only events of this key.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most this many events.")] = None,
) -> None:
    """Print the events of a stream as CloudEvents, one a line, oldest first."""
    server, left, more = _server(context), limit, True
    while more and (left is None or left > 0):
        size = PAGE if left is None else min(PAGE, left)
        page = server.get(_path("streams", name, "events"), after=after, key=key, limit=size)
        for event in page["events"]:
            say(json.dumps(event, ensure_ascii=False, separators=(",", ":")))
        left = None if left is None else left - len(page["events"])
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
    found = _server(context).get("/v1/dead-letters", kind=kind, stream=name, limit=1_000)["letters"]
    _answer(found, "id", "stream", "key", "created_at", "state", "sink", "cause", as_json=as_json)


@dead.command("show")
def show_letter(context: typer.Context, *, letter: Letter) -> None:
    """Show one dead letter, with the values that are released to you, as JSON."""
    say_json(_server(context).get(_path("dead-letters", letter)))


@dead.command("replay")
def replay_letter(context: typer.Context, *, letter: Letter) -> None:
    """Check a rejected row again, or deliver an undelivered event again."""
    _done(_server(context).post(_path("dead-letters", letter, "replay")))


@dead.command("discard")
def discard_letter(
    context: typer.Context,
    *,
    letter: Letter,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept for ever.", show_default=False)],
) -> None:
    """Close a letter for good, with a reason."""
    _done(_server(context).post(_path("dead-letters", letter, "discard"), {"reason": reason}))


@stream.command("list")
def list_streams(context: typer.Context, *, as_json: Json = False) -> None:
    """List your streams."""
    found = _server(context).get("/v1/streams")["streams"]
    _answer(found, "name", "system", "phase", "since", "why", "last", "parked", as_json=as_json)


@stream.command("pause")
def pause_stream(context: typer.Context, *, name: Name) -> None:
    """Park a stream's rows from now on."""
    _done(_server(context).post(_path("streams", name, "pause")))


@stream.command("resume")
def resume_stream(context: typer.Context, *, name: Name) -> None:
    """Let a stream's parked rows through, and go on."""
    _done(_server(context).post(_path("streams", name, "resume")))


@stream.command("snapshot")
def snapshot_stream(context: typer.Context, *, name: Name) -> None:
    """Read a stream's table again."""
    _done(_server(context).post(_path("streams", name, "snapshot")))


@sink.command("list")
def list_sinks(context: typer.Context, *, as_json: Json = False) -> None:
    """List the sinks all of whose streams are yours."""
    found = _server(context).get("/v1/sinks")["sinks"]
    _answer(found, "sink", "kind", "state", "behind", "pending", "dead_letters", "why", as_json=as_json)


@sink.command("show")
def show_sink(context: typer.Context, *, name: Name) -> None:
    """Show one sink whole, as JSON."""
    say_json(_server(context).get(_path("sinks", name)))


@sink.command("pause")
def pause_sink(context: typer.Context, *, name: Name) -> None:
    """Send nothing more to a sink."""
    _done(_server(context).post(_path("sinks", name, "pause")))


@sink.command("resume")
def resume_sink(context: typer.Context, *, name: Name) -> None:
    """Let a paused sink go on."""
    _done(_server(context).post(_path("sinks", name, "resume")))


@sink.command("test")
def test_sink(context: typer.Context, *, name: Name) -> None:
    """Send one test event and say what the receiver answered."""
    _done(_server(context).post(_path("sinks", name, "test")))


@sink.command("replay")
def replay_sink(
    context: typer.Context,
    *,
    name: Name,
    of: Annotated[str, typer.Argument(metavar="STREAM", help="Stream to send again.", show_default=False)],
    first: Annotated[int, typer.Option("--from", metavar="SEQ", min=1, help="First sequence number.")],
    last: Annotated[int | None, typer.Option("--to", metavar="SEQ", min=1, help="Last one.")] = None,
) -> None:
    """Send events once more, with the ids they had."""
    span = {"stream": of, "first": first, "last": first if last is None else last}
    _done(_server(context).post(_path("sinks", name, "replay"), span))


def _path(*parts: str) -> str:
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def _answer(found: list[dict[str, Any]], *names: str, as_json: bool) -> None:
    if as_json:
        say_json(found)
    else:
        _rows(found, *names)


def _rows(found: list[dict[str, Any]], *names: str) -> None:
    table([name.replace("_", " ") for name in names], [[one.get(name) for name in names] for one in found])


def _done(result: Mapping[str, Any]) -> None:
    """What came of an act."""
    note(", ".join(f"{name}: {value}" for name, value in result.items() if value is not None) or "done")
