"""`legacy-bridge alarm`: what is wrong, who takes care of it, when nobody is told, and whether telling works."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.ask import ask
from bridge.cli.options import DryRun, Json, span
from bridge.cli.session import session
from bridge.cli.show import note, say_json, say_result, table
from bridge.errors import BridgeError, Declined

if TYPE_CHECKING:
    from bridge.alarm.machine import Notice
    from bridge.alarm.outlet import Outlet
    from bridge.cli.session import Session
    from bridge.config.models import Config
    from bridge.ports import Journal

alarm = typer.Typer(
    help="Alarms: list, show, ack, silence, silences, unsilence, maintenance, test.", no_args_is_help=True
)

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the alarm, or how it begins.", show_default=False)]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the audit trail.", show_default=False)]
_TRIAL_S = 30.0


class NoSuchAlarm(BridgeError):
    """An alarm was asked for by an id that none has, or that several begin with."""

    code = "alarm.not_found"
    default_hint = "`legacy-bridge alarm list --all` shows every id."
    exit_code = 66


@alarm.command("list")
def list_alarms(
    context: typer.Context,
    *,
    every: Annotated[bool, typer.Option("--all", help="Resolved ones of the last 30 days, too.")] = False,
    as_json: Json = False,
) -> None:
    """List what is wrong, the worst and oldest first; exit 1 when something fires."""
    opened = session(context)
    config = opened.config()
    with opened.journal(config) as journal:
        found = [one for one in _entries(journal, config) if every or one["state"] != "resolved"]
    if as_json:
        say_json(found)
    else:
        headings = ["id", "severity", "state", "since", "what", "blocks"]
        rows = [
            (
                one["id"],
                one["severity"],
                _state(one),
                _since(one),
                f"{one['title']}: {one['what']}",
                _all(one),
            )
            for one in found
        ]
        table(headings, rows)
    raise typer.Exit(1 if any(one["state"] == "firing" for one in found) else 0)


@alarm.command()
def show(context: typer.Context, *, number: Id, as_json: Json = False) -> None:
    """Show one alarm: since when, what it blocks, what to do, where the runbook is."""
    from bridge.alarm import book
    from bridge.hush import named

    opened = session(context)
    config = opened.config()
    with opened.journal(config) as journal:
        try:
            wanted = named(book.alarms(journal), number).id
        except Declined as error:
            raise NoSuchAlarm(error.detail) from error
        found = next(one for one in _entries(journal, config) if one["id"] == wanted)
    if as_json:
        say_json(found)
        return
    found["blocks"], ack = _all(found), found["acknowledged"]
    found["acknowledged"] = f"{ack['by']} {ack['note']}".strip() if ack else None
    table(["", "value"], list(found.items()))


@alarm.command()
def ack(
    context: typer.Context,
    *,
    number: Id,
    text: Annotated[str, typer.Option("--note", metavar="TEXT", help="What you do about it.")] = "",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take care of an alarm: no more reminders; its end is told."""
    _act(session(context), "alarm.ack", {"alarm": number, "note": text}, dry_run=dry_run, as_json=as_json)


@alarm.command()
def silence(
    context: typer.Context,
    *,
    of: Annotated[
        str,
        typer.Argument(metavar="OF", help="An alarm's id, stream:NAME, sink:NAME, source:NAME, system:NAME or '*'."),
    ],
    reason: Reason,
    rule: Annotated[str | None, typer.Option(metavar="RULE", help="Only alarms of this rule.")] = None,
    lasting: Annotated[
        timedelta | None, typer.Option("--for", parser=span, metavar="TIME", help="Like 90m, 2h or 3d.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="MOMENT", help="Like 2026-12-01T20:00:00+01:00.")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Tell nobody of some alarms until an end; what fires then still is told then."""
    if (lasting is None) == (until is None):
        raise typer.BadParameter("an end is needed: --for or --until")
    ends_at = until if lasting is None else (datetime.now(UTC) + lasting).isoformat()
    args = {"of": of, "reason": reason, "rule": rule, "ends_at": ends_at}
    _act(session(context), "alarm.silence", args, dry_run=dry_run, as_json=as_json)


@alarm.command()
def silences(context: typer.Context, *, as_json: Json = False) -> None:
    """List silences and maintenance windows, those of the configuration included."""
    from bridge.alarm import roll

    opened = session(context)
    config = opened.config()
    with opened.journal(config) as journal:
        found = roll.quiets(journal, config.alarms, now=datetime.now(UTC))
    if as_json:
        say_json(found)
    else:
        headings = ["id", "kind", "of", "rule", "now", "starts", "ends", "by", "reason"]
        table(headings, [list(one.values()) for one in found])


@alarm.command()
def unsilence(
    context: typer.Context,
    *,
    number: Annotated[str, typer.Argument(metavar="ID", help="Id of the silence or window.", show_default=False)],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """End a silence, or a maintenance window that an operator set."""
    _act(session(context), "alarm.unsilence", {"silence": number}, dry_run=dry_run, as_json=as_json)


@alarm.command()
def maintenance(
    context: typer.Context,
    *,
    of: Annotated[str, typer.Argument(metavar="OF", help="stream:NAME, sink:NAME, source:NAME, system:NAME or '*'.")],
    reason: Reason,
    starts: Annotated[str, typer.Option(metavar="MOMENT", help="Like 2026-12-01T20:00:00+01:00.", show_default=False)],
    ends: Annotated[str, typer.Option(metavar="MOMENT", help="Its end.", show_default=False)],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Set a time in which nobody is told; windows that come again belong into the configuration."""
    args = {"of": of, "reason": reason, "starts_at": starts, "ends_at": ends}
    _act(session(context), "alarm.maintenance", args, dry_run=dry_run, as_json=as_json)


@alarm.command("test")
def try_out(
    context: typer.Context,
    *,
    outlet: Annotated[str | None, typer.Argument(metavar="OUTLET", help="Only this one.")] = None,
    as_json: Json = False,
) -> None:
    """Send a test through the outlets and say who took it; exit 1 when one did not."""
    import asyncio

    from bridge.outlets.build import build_outlets

    opened = session(context)
    config = opened.config(online=True)
    outlets = {name: each for name, each in build_outlets(config).items() if outlet in (None, name)}
    if not outlets:
        raise typer.BadParameter("there is no such outlet" if outlet else "there is no outlet that tells")
    found = asyncio.run(_try_all(outlets))
    ask(opened, "alarm.test", {"outlets": sorted(found)})
    if as_json:
        say_json(found)
    else:
        table(["outlet", "outcome"], [(name, problem or "ok") for name, problem in found.items()])
    raise typer.Exit(1 if any(found.values()) else 0)


async def _try_all(outlets: "Mapping[str, Outlet]") -> dict[str, str]:
    """What kept each outlet from taking a test; "" for nothing."""
    import asyncio

    from bridge.alarm.machine import Notice

    now = datetime.now(UTC)
    notice = Notice(f"test:{now:%Y%m%d%H%M%S}", "test", now, "test", ())
    problems = await asyncio.gather(*(_try_one(each, notice) for each in outlets.values()))
    return dict(zip(outlets, problems, strict=True))


async def _try_one(outlet: "Outlet", notice: "Notice") -> str:
    import asyncio

    from bridge.errors import BridgeError

    try:
        async with asyncio.timeout(_TRIAL_S):
            await outlet.tell(notice)
    except BridgeError as error:
        return f"{error.detail} ({error.hint})"
    except TimeoutError:
        return f"no answer within {_TRIAL_S:.0f} s"
    finally:
        await outlet.close()
    return ""


def _entries(journal: "Journal", config: "Config") -> list[dict[str, Any]]:
    from bridge.alarm import roll

    return roll.entries(journal, config.alarms, instance=config.bridge.name, now=datetime.now(UTC))


def _act(opened: "Session", kind: str, args: dict[str, Any], *, dry_run: bool, as_json: bool) -> None:
    if dry_run:
        note(f"would ask for {kind}: {', '.join(f'{name} {value}' for name, value in args.items() if value)}")
        return
    say_result(ask(opened, kind, args).result, as_json=as_json)


def _state(one: Mapping[str, Any]) -> str:
    return f"{one['state']}{', silenced' if one['silenced'] else ''}{', acknowledged' if one['acknowledged'] else ''}"


def _since(one: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(one["since"])


def _all(one: Mapping[str, Any]) -> str:
    return ", ".join(one["blocks"])
