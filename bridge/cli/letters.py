"""`legacy-bridge dead`: look at dead letters, replay them under the present contract, or discard them with a reason."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.ask import RequestRefused, ask
from bridge.cli.session import session
from bridge.cli.show import note, say, say_json, table
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.model import Letter
    from bridge.ports import Journal

PAGE = 500

dead = typer.Typer(help="Dead letters: list, show, replay, discard.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Ids = Annotated[list[int] | None, typer.Argument(metavar="ID...", help="Numbers of dead letters.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


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
    every: Annotated[bool, typer.Option("--all", help="Settled letters too.")] = False,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most this many.")] = None,
    as_json: Json = False,
) -> None:
    """List dead letters, oldest first, without their values."""
    opened = session(context)
    with opened.journal(opened.config()) as journal:
        found = _letters(journal, stream=stream, every=every, limit=limit)
    if as_json:
        for letter in found:
            say_json(summary(letter))
        return
    rows = [
        (letter.id, letter.stream, letter.key, letter.created_at, letter.state, letter.contract, _broken(letter))
        for letter in found
    ]
    table(["id", "stream", "key", "since", "state", "contract", "broken rules"], rows)


@dead.command()
def show(
    context: typer.Context,
    *,
    letter_id: Annotated[int, typer.Argument(metavar="ID", help="Number of the dead letter.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Show one dead letter whole.

    Every broken rule, and the raw legacy values: mind who looks over your shoulder.
    """
    from bridge.export import legacy_values

    opened = session(context)
    with opened.journal(opened.config()) as journal:
        letter = journal.letter(letter_id)
    if letter is None:
        raise NoSuchLetter(f"there is no dead letter {letter_id}")
    whole = summary(letter) | {"raw": legacy_values(letter.raw) if letter.raw else {}}
    if as_json:
        say_json(whole)
        return
    rules, raw = whole.pop("breaches"), whole.pop("raw")
    table(["", "value"], list(whole.items()))
    say()
    table(["rule", "field", "expected"], [(rule["rule"], rule["field"], rule["detail"]) for rule in rules])
    say()
    table(["legacy column", "raw value"], [(name, repr(value)) for name, value in raw.items()])


@dead.command()
def replay(
    context: typer.Context,
    *,
    ids: Ids = None,
    stream: Annotated[str | None, typer.Option(metavar="STREAM", help="Every open letter of this stream.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every open letter.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Check letters again under the contract.

    Those that pass the present contract become events; one overtaken by a later change of its key is superseded.
    """
    if sum([bool(ids), stream is not None, every]) != 1:
        raise typer.BadParameter("name letters by ID, or give --stream or --all")
    args: dict[str, Any] = {"ids": ids} if ids else {"stream": stream} if stream else {"all": True}
    if dry_run:
        opened = session(context)
        with opened.journal(opened.config()) as journal:
            found = [_open_letter(journal, number) for number in ids or []]
            found += [] if ids else _letters(journal, stream=stream, every=False, limit=None)
        note(f"would replay {len(found)} dead letters")
        return
    _report(ask(session(context), "dead.replay", args).result, as_json=as_json)


@dead.command()
def discard(
    context: typer.Context,
    *,
    ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Numbers of dead letters.", show_default=False)],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept for ever.", show_default=False)],
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Close letters for good, with a reason.

    The reason is kept in the audit trail.
    """
    if not reason.strip():
        raise typer.BadParameter("a reason is needed", param_hint="--reason")
    opened = session(context)
    with opened.journal(opened.config()) as journal:
        found = [_open_letter(journal, number) for number in ids]
    if dry_run:
        note(f"would discard {len(found)} dead letters")
        return
    if not yes:
        typer.confirm(f"Discard {len(found)} dead letters for good?", abort=True, err=True)
    _report(ask(opened, "dead.discard", {"ids": ids, "reason": reason}).result, as_json=as_json)


def summary(letter: "Letter") -> dict[str, Any]:
    """A letter without its values, for `dead list --json`."""
    return {
        "id": letter.id,
        "stream": letter.stream,
        "key": letter.key,
        "event_id": letter.event_id,
        "epoch": letter.epoch,
        "contract": letter.contract,
        "state": str(letter.state),
        "created_at": letter.created_at,
        "settled_at": letter.settled_at,
        "reason": letter.reason,
        "breaches": [{"rule": each.rule, "field": each.field, "detail": each.detail} for each in letter.breaches],
    }


def _letters(journal: "Journal", *, stream: str | None, every: bool, limit: int | None) -> list["Letter"]:
    """Letters in order of number, page by page."""
    from bridge.model import LetterState

    found: list[Letter] = []
    while limit is None or len(found) < limit:
        size = PAGE if limit is None else min(PAGE, limit - len(found))
        after = found[-1].id if found else 0
        page = journal.letters(stream=stream, state=None if every else LetterState.OPEN, limit=size, after=after)
        found += page
        if len(page) < size:
            break
    return found


def _open_letter(journal: "Journal", number: int) -> "Letter":
    from bridge.model import LetterState

    letter = journal.letter(number)
    if letter is None:
        raise NoSuchLetter(f"there is no dead letter {number}")
    if letter.state is not LetterState.OPEN:
        raise RequestRefused(
            f"dead letter {number} is {letter.state} already", hint="Only open letters can be settled."
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
