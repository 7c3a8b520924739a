"""`legacy-bridge key`: make, list, revoke and rotate the API keys of the principals.

Works beside a running daemon, which notices within a second, and without one. A key is shown once and never stored.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.ask import actor
from bridge.cli.options import DryRun, Json, JsonLines, span
from bridge.cli.session import session
from bridge.cli.show import note as say_note
from bridge.cli.show import say, say_json, table
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.config.models import Config
    from bridge.journal.sqlite import SqliteJournal
    from bridge.keys import StoredKey
    from bridge.ports import Journal

key = typer.Typer(help="API keys: create, list, revoke, rotate.", no_args_is_help=True)


class NoSuchKey(BridgeError):
    """An API key was asked for by a prefix that none has."""

    code = "key.not_found"
    default_hint = "`legacy-bridge key list` shows every prefix."
    exit_code = 66


class NoSuchPrincipal(BridgeError):
    """A key was asked for somebody whom the configuration does not name."""

    code = "key.no_principal"
    default_hint = "Add it below `principals` in bridge.yaml first."
    exit_code = 66


Expires = Annotated[
    timedelta | None,
    typer.Option(parser=span, metavar="SPAN", help="How long it is good, like 90d; for ever when left out."),
]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="What it is for.")]
Prefix = Annotated[
    str, typer.Argument(metavar="PREFIX", help="The key up to its second underscore.", show_default=False)
]


@key.command()
def create(
    context: typer.Context,
    *,
    principal: Annotated[str, typer.Argument(metavar="PRINCIPAL", help="Whose key.", show_default=False)],
    expires: Expires = None,
    note: Note = "",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once."""
    opened = session(context)
    config = opened.config()
    if principal not in config.principals:
        names = ", ".join(config.principals) or "none"
        raise NoSuchPrincipal(f"there is no principal {principal!r}; configured: {names}")
    if dry_run:
        say_note(f"would make a key for {principal}")
        return
    with _journal(config) as journal:
        text, made = _make(journal, principal, expires=expires, note=note, action="key.create")
    _print(text, made, as_json=as_json)


@key.command("list")
def list_keys(
    context: typer.Context,
    *,
    as_json: JsonLines = False,
) -> None:
    """List the keys, never the secrets."""
    from bridge import keys

    opened = session(context)
    config = opened.config()
    with opened.journal(config) as journal:
        found, used = _stored(journal), journal.kept(keys.USE_KIND)
    now = datetime.now(UTC)
    rows = [
        {
            "prefix": one.prefix,
            "principal": one.principal,
            "state": _state(one, config, now),
            "created_at": one.created_at,
            "expires_at": one.expires_at,
            "last_used_hour": datetime.fromisoformat(used[one.prefix]["hour"]) if one.prefix in used else None,
            "note": one.note,
        }
        for one in sorted(found.values(), key=lambda each: each.created_at)
    ]
    if as_json:
        for row in rows:
            say_json(row)
        return
    headings = ["prefix", "principal", "state", "created", "expires", "last used", "note"]
    table(headings, [list(row.values()) for row in rows])


@key.command()
def revoke(context: typer.Context, *, prefix: Prefix, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Take a key away, for good and within a second."""
    from bridge import keys
    from bridge.model import AuditEntry

    opened = session(context)
    with opened.journal(opened.config()) as journal:
        one = _one(journal, prefix)
        if dry_run:
            say_note(f"would revoke {one.prefix} of {one.principal}")
            return
        entry = AuditEntry(actor(), "key.revoke", one.prefix, f"of {one.principal}")
        journal.keep(keys.KIND, {one.prefix: None}, audit=[entry])
        journal.keep(keys.USE_KIND, {one.prefix: None})
    if as_json:
        say_json({"prefix": one.prefix, "principal": one.principal})
    else:
        say_note(f"revoked {one.prefix} of {one.principal}")


@key.command()
def rotate(
    context: typer.Context,
    *,
    prefix: Prefix,
    overlap: Annotated[
        timedelta, typer.Option(parser=span, metavar="SPAN", help="How long the old key stays good beside the new one.")
    ] = "24h",  # type: ignore[assignment]  # typer parses the default
    expires: Expires = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a key for the same principal, and let the old one expire."""
    opened = session(context)
    with opened.journal(opened.config()) as journal:
        old = _one(journal, prefix)
        ends_at = datetime.now(UTC) + overlap
        if dry_run:
            say_note(f"would make a key for {old.principal} and end {old.prefix} at {ends_at:%Y-%m-%d %H:%M}Z")
            return
        ending = replace(old, expires_at=min(ends_at, old.expires_at or ends_at))
        lifetime = expires or (old.expires_at - old.created_at if old.expires_at else None)
        text, made = _make(journal, old.principal, expires=lifetime, note=old.note, action="key.rotate", old=ending)
    _print(text, made, as_json=as_json)
    say_note(f"the old key {ending.prefix} is good until {ending.expires_at:%Y-%m-%d %H:%M}Z")


@contextmanager
def _journal(config: "Config") -> "Iterator[SqliteJournal]":
    """The journal to keep keys in, created when the first key is made before the first start."""
    from bridge.journal.sqlite import SqliteJournal

    path = config.bridge.journal.sqlite
    journal = SqliteJournal.open(path, owner=not path.exists())
    try:
        yield journal
    finally:
        journal.close()


def _make(
    journal: "Journal",
    principal: str,
    *,
    expires: timedelta | None,
    note: str,
    action: str,
    old: "StoredKey | None" = None,
) -> "tuple[str, StoredKey]":
    """Store a new key, and the old one's end, in one commit with the audit entry."""
    from bridge import keys
    from bridge.model import AuditEntry

    now = datetime.now(UTC)
    text, made = keys.create(principal, now=now, expires_at=now + expires if expires else None, note=note)
    until = f", good until {made.expires_at:%Y-%m-%d %H:%M}Z" if made.expires_at else ""
    instead = f", instead of {old.prefix}" if old else ""
    values = {one.prefix: one.to_kept() for one in (made, old) if one is not None}
    entry = AuditEntry(actor(), action, made.prefix, f"for {principal}{until}{instead}")
    journal.keep(keys.KIND, values, audit=[entry])
    return text, made


def _stored(journal: "Journal") -> "dict[str, StoredKey]":
    from bridge import keys

    return {prefix: keys.StoredKey.from_kept(prefix, value) for prefix, value in journal.kept(keys.KIND).items()}


def _one(journal: "Journal", prefix: str) -> "StoredKey":
    """The key of this prefix; never repeats what else may have been pasted."""
    from bridge import keys

    whole = prefix if prefix.startswith("lbk_") else f"lbk_{prefix}"
    if not keys.is_prefix(whole):
        raise typer.BadParameter(
            "only what stands before the second underscore, like lbk_k3v9x0ab", param_hint="PREFIX"
        )
    found = _stored(journal).get(whole)
    if found is None:
        raise NoSuchKey(f"there is no key {whole}")
    return found


def _state(one: "StoredKey", config: "Config", now: datetime) -> str:
    if one.is_expired(now):
        return "expired"
    return "good" if one.principal in config.principals else "no such principal"


def _print(text: str, made: "StoredKey", *, as_json: bool) -> None:
    if as_json:
        say_json({"key": text, "prefix": made.prefix, "principal": made.principal, "expires_at": made.expires_at})
        return
    say(text)
    say_note(f"the key {made.prefix} of {made.principal}: keep it now, it is not shown again")
