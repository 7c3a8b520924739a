"""`legacy-bridge dead`: look at dead letters, replay them, or discard them with a reason.

Rejected rows have a number, 17, and are replayed under the present contract; events that a sink could not deliver
have a d before it, d17, and are replayed to that sink.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.ask import RequestRefused, ask
from bridge.cli.options import DryRun, JsonLines, OfSink, OfStream, Yes
from bridge.cli.session import session
from bridge.cli.show import note, say, say_json, table
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.cli.session import Session
    from bridge.config.models import Config
    from bridge.model import Letter
    from bridge.parcel import Undelivered
    from bridge.ports import Journal

PAGE = 500

dead = typer.Typer(help="Dead letters: list, show, replay, discard.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of dead letters: 17, or d17.")]
Sink = Annotated[str | None, typer.Option(metavar="SINK", help="Only what this sink could not deliver.")]


class NoSuchLetter(BridgeError):
    """A dead letter was asked for by a number that none has."""

    code = "dead.not_found"
    default_hint = "`legacy-bridge dead list --all` shows every number."
    exit_code = 66


@dead.command("list")
def list_letters(
    context: typer.Context,
    *,
    stream: Annotated[str | None, typer.Option(metavar="STREAM", help="Only letters of this stream.")] = None,
    sink: Sink = None,
    every: Annotated[bool, typer.Option("--all", help="Settled letters too.")] = False,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most this many.")] = None,
    as_json: JsonLines = False,
) -> None:
    """List dead letters, oldest first, without their values."""
    from bridge.parcel import summary

    opened = session(context)
    with opened.journal(opened.config()) as journal:
        found = _letters(journal, stream=stream, sink=sink, every=every, limit=limit)
    if as_json:
        for letter in found:
            say_json(summary(letter))
        return
    rows = [
        (
            summary(letter)["id"],
            letter.stream,
            letter.key,
            letter.created_at,
            letter.state,
            _sink(letter),
            _cause(letter),
        )
        for letter in found
    ]
    table(["id", "stream", "key", "since", "state", "sink", "broken rules, or why not delivered"], rows)


@dead.command()
def show(
    context: typer.Context,
    *,
    letter_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the dead letter: 17, or d17.", show_default=False)
    ],
    as_json: JsonLines = False,
) -> None:
    """Show one dead letter whole.

    Every broken rule and the raw legacy values, or the event and why it was not delivered: mind who looks over your
    shoulder.
    """
    from bridge.parcel import summary

    opened = session(context)
    config = opened.config()
    with opened.journal(config) as journal:
        letter = _letter(journal, letter_id)
    whole = summary(letter) | _content(letter, config)
    if as_json:
        say_json(whole)
        return
    rules, values = whole.pop("breaches", []), whole.pop("raw", None) or whole.pop("event", {})
    table(["", "value"], list(whole.items()))
    if rules:
        say()
        table(["rule", "field", "expected"], [(rule["rule"], rule["field"], rule["detail"]) for rule in rules])
    say()
    table(["name", "value"], [(name, repr(value)) for name, value in values.items()])


@dead.command()
def replay(
    context: typer.Context,
    *,
    ids: Ids = None,
    stream: OfStream = None,
    sink: OfSink = None,
    every: Annotated[bool, typer.Option("--all", help="Every open letter.")] = False,
    dry_run: DryRun = False,
    as_json: JsonLines = False,
) -> None:
    """Check rejected rows again under the contract; send undelivered events again.

    Rows that pass the present contract become events; one overtaken by a later change of its key is superseded. An
    undelivered event keeps its id; its letter is settled when the receiver has it.
    """
    args = _args(ids, stream, sink, every=every)
    if dry_run:
        note(f"would replay {_count(session(context), args)} dead letters")
        return
    _report(ask(session(context), "dead.replay", args).result, as_json=as_json)


@dead.command()
def discard(
    context: typer.Context,
    *,
    ids: Ids = None,
    stream: OfStream = None,
    sink: OfSink = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept for ever.", show_default=False)],
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: JsonLines = False,
) -> None:
    """Close letters for good, with a reason.

    The reason is kept in the audit trail.
    """
    if not reason.strip():
        raise typer.BadParameter("a reason is needed", param_hint="--reason")
    args = _args(ids, stream, sink)
    opened = session(context)
    count = _count(opened, args)
    if dry_run:
        note(f"would discard {count} dead letters")
        return
    if not yes:
        typer.confirm(f"Discard {count} dead letters for good?", abort=True, err=True)
    _report(ask(opened, "dead.discard", args | {"reason": reason}).result, as_json=as_json)


def _args(ids: list[str] | None, stream: str | None, sink: str | None, *, every: bool = False) -> dict[str, Any]:
    """Which open letters are meant. Raises: BadParameter unless in one way."""
    if bool(ids) + (stream is not None or sink is not None) + every != 1:
        raise typer.BadParameter("name letters by ID, or give --stream, --sink or both, or --all where there is one")
    if ids:
        return {"ids": ids}
    given = {"stream": stream, "sink": sink, "all": every}
    return {name: value for name, value in given.items() if value}


def _count(opened: "Session", args: Mapping[str, Any]) -> int:
    """How many letters are meant. Raises: NoSuchLetter, RequestRefused for one that is named and not open."""
    with opened.journal(opened.config()) as journal:
        if "ids" in args:
            return len([_open_letter(journal, number) for number in args["ids"]])
        return len(_letters(journal, stream=args.get("stream"), sink=args.get("sink"), every=False, limit=None))


def _content(letter: "Letter | Undelivered", config: "Config") -> dict[str, Any]:
    """The raw values of a rejected row, or the event that was not delivered."""
    from bridge.export import cloudevents, legacy_values
    from bridge.model import Letter

    if isinstance(letter, Letter):
        return {"raw": {} if letter.raw is None else legacy_values(letter.raw)}
    from bridge.cli.events import envelope

    if letter.block is None:
        return {"event": {}}
    return {"event": json.loads(cloudevents(letter.block, envelope(config, letter.stream))[0])}


def _sink(letter: "Letter | Undelivered") -> str | None:
    return getattr(letter, "sink", None)


def _cause(letter: "Letter | Undelivered") -> str:
    from bridge.model import Letter

    return _broken(letter) if isinstance(letter, Letter) else letter.cause


def _letters(
    journal: "Journal", *, stream: str | None, sink: str | None, every: bool, limit: int | None
) -> list["Letter | Undelivered"]:
    """Rejected rows, then undelivered events, each in order of number."""
    from functools import partial

    from bridge.model import LetterState

    state = None if every else LetterState.OPEN
    found: list[Letter | Undelivered] = []
    if sink is None:
        found += _pages(partial(journal.letters, stream=stream, state=state), limit)
    left = None if limit is None else limit - len(found)
    found += _pages(partial(journal.undelivered, stream=stream, sink=sink, state=state), left)
    return found


def _pages(read: "Callable[..., list[Any]]", limit: int | None) -> list[Any]:
    """Letters page by page."""
    found: list[Any] = []
    while limit is None or len(found) < limit:
        size = PAGE if limit is None else min(PAGE, limit - len(found))
        page = read(limit=size, after=found[-1].id if found else 0)
        found += page
        if len(page) < size:
            break
    return found


def _letter(journal: "Journal", wanted: str) -> "Letter | Undelivered":
    """Raises: NoSuchLetter."""
    number = wanted.removeprefix("d")
    found: Letter | Undelivered | None = None
    if number.isascii() and number.isdigit():
        found = journal.undelivered_one(int(number)) if wanted != number else journal.letter(int(number))
    if found is None:
        raise NoSuchLetter(f"there is no dead letter {wanted}")
    return found


def _open_letter(journal: "Journal", wanted: str) -> "Letter | Undelivered":
    from bridge.model import LetterState

    letter = _letter(journal, wanted)
    if letter.state is not LetterState.OPEN:
        raise RequestRefused(
            f"dead letter {wanted} is {letter.state} already", hint="Only open letters can be settled."
        )
    return letter


def _broken(letter: "Letter") -> str:
    rules = [f"{each.field}: {each.rule}" if each.field else each.rule for each in letter.breaches]
    return ", ".join(dict.fromkeys(rules))


def _report(result: Mapping[str, Any], *, as_json: bool) -> None:
    """What became of the letters."""
    if as_json:
        say_json(dict(result))
    else:
        say(", ".join(f"{name}: {value}" for name, value in result.items()) or "done")
