"""`legacy-bridge audit`: see who did what, prove that nothing of it was changed, and take it out of the machine."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.options import Json, JsonLines
from bridge.cli.session import Session, session
from bridge.cli.show import say, say_json, table
from bridge.errors import BridgeError, JournalCorrupt

if TYPE_CHECKING:
    from bridge.ports import Journal
    from bridge.trail import Audited

PAGE = 1_000

audit = typer.Typer(help="The audit trail: show, verify, export.")

Limit = Annotated[int, typer.Option(metavar="N", min=1, help="The newest N entries.")]
Actor = Annotated[str | None, typer.Option(metavar="NAME", help="Only what this actor did.")]
Action = Annotated[str | None, typer.Option(metavar="ACTION", help="Only this action, or group of actions like dead.")]


class BadExport(BridgeError):
    """A file that should hold an exported audit trail cannot be read as one."""

    code = "audit.export_invalid"
    default_hint = "Name a file that `legacy-bridge audit export` wrote."
    exit_code = 65


@audit.callback(invoke_without_command=True)
def _bare(
    context: typer.Context,
    *,
    limit: Limit = 100,
    actor: Actor = None,
    action: Action = None,
    as_json: JsonLines = False,
) -> None:
    """List who did what, oldest first, and more; alone the same as `audit show`."""
    if context.invoked_subcommand is None:
        _show(session(context), limit=limit, actor=actor, action=action, as_json=as_json)


@audit.command()
def show(
    context: typer.Context,
    *,
    limit: Limit = 100,
    actor: Actor = None,
    action: Action = None,
    as_json: JsonLines = False,
) -> None:
    """List who did what, oldest first."""
    _show(session(context), limit=limit, actor=actor, action=action, as_json=as_json)


@audit.command()
def verify(
    context: typer.Context,
    *,
    head: Annotated[
        str | None,
        typer.Option(metavar="NUMBER:HEX", help="A head that was kept elsewhere."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An exported file, held against itself and the journal.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove that no entry was changed, removed, added or moved.

    Without a head kept outside the journal, somebody who may write the file could have rebuilt the whole trail.
    Exit 65 when anything is not as it was written.
    """
    from bridge import trail

    try:
        anchor = trail.Head.parse(head) if head is not None else None
    except ValueError as error:
        raise typer.BadParameter(f"expected {error}", param_hint="--head") from None
    opened = session(context)
    with opened.journal(opened.config()) as journal:
        findings = journal.audit_verify(anchor)
        if file is not None:
            findings += [finding for finding in _against_file(journal, file) if finding not in findings]
        end = journal.audit_head()
    if as_json:
        say_json({"whole": not findings, "findings": findings, "head": str(end)})
    else:
        say("\n".join(findings) if findings else f"whole: {end.number} entries, head {end}")
    raise typer.Exit(JournalCorrupt.exit_code if findings else 0)


@audit.command()
def export(
    context: typer.Context,
    *,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file, complete or not.")] = None,
    after: Annotated[int, typer.Option(metavar="N", min=0, help="Only entries with a number above N.")] = 0,
    head_only: Annotated[bool, typer.Option("--head", help="Only where the trail ends now, as NUMBER:HEX.")] = False,
) -> None:
    """Write the whole trail as JSON lines with hashes, oldest first; keep it on another machine."""
    opened = session(context)
    with opened.journal(opened.config()) as journal:
        if head_only:
            say(str(journal.audit_head()))
        elif output is None:
            for line in _lines(journal, after):
                say(line)
        else:
            from bridge.cli.files import replacing

            with replacing(output) as part, part.open("w", encoding="utf-8") as written:
                written.writelines(f"{line}\n" for line in _lines(journal, after))


def _show(opened: Session, *, limit: int, actor: str | None, action: str | None, as_json: bool) -> None:
    with opened.journal(opened.config()) as journal:
        found = journal.audit_trail(limit=limit, actor=actor, action=action)
    headings = ["number", "at", "actor", "action", "subject", "reason"]
    rows = [
        (one.number, one.at, one.entry.actor, one.entry.action, one.entry.subject, one.entry.reason) for one in found
    ]
    if as_json:
        for row in rows:
            say_json(dict(zip(headings, row, strict=True)))
    else:
        table(headings, rows)


def _lines(journal: "Journal", after: int) -> Iterator[str]:
    """Every entry above a number as JSON, page by page."""
    from bridge import trail

    while page := journal.audit_trail(after=after, limit=PAGE):
        for one in page:
            yield json.dumps(trail.to_json(one), ensure_ascii=False)
        after = page[-1].number


def _against_file(journal: "Journal", path: Path) -> list[str]:
    """What is wrong with an exported file in itself, and with the journal beside it.

    A file whose chain is whole and whose last hash the journal has too is equal to it, entry by entry.
    """
    from bridge import trail

    exported = _read(path)
    first = next(exported, None)
    if first is None:
        return [f"{path} holds no entry"]
    before = journal.audit_trail(after=max(0, first.number - 2), limit=1) if first.number > 1 else ()
    start = before[0].head if before and before[0].number == first.number - 1 else trail.Head(first.number - 1)
    walk = trail.Walk(start)
    for one in chain([first], exported):
        walk.step(one)
    in_file = [f"{path}: {finding}" for finding in walk.findings]
    return in_file + journal.audit_verify(walk.last)


def _read(path: Path) -> "Iterator[Audited]":
    """The entries of an exported file. Raises: BadExport."""
    from bridge import trail

    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield trail.from_json(json.loads(line))
                except ValueError as error:
                    raise BadExport(f"{path}, line {number}: expected {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise BadExport(f"{path}: {reason}") from error
