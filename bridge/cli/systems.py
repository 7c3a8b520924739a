"""`legacy-bridge system`, `dba-script`, `decommission`: stop reading a system, what its DBA runs, how to leave it."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.ask import RequestRefused, ask
from bridge.cli.options import DryRun, Json, System, Yes
from bridge.cli.session import session
from bridge.cli.show import note, say, say_json, say_result, table
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.config.models import Config
    from bridge.sources.postgres.dba import Letter

system = typer.Typer(help="Legacy systems: list, pause (the kill switch), resume.", no_args_is_help=True)


@system.command("list")
def list_systems(context: typer.Context, *, as_json: Json = False) -> None:
    """List the systems: whether they are paused, since when, by whom and why."""
    from bridge.halt import standings

    opened = session(context)
    config = opened.config()
    with opened.journal(config) as journal:
        found = standings(journal, config)
    if as_json:
        say_json(found)
        return
    states = ["paused" if one["paused"] else "running" for one in found]
    rows = [
        (one["system"], one["kind"], len(one["streams"]), state, one["since"], one["by"], one["reason"])
        for one, state in zip(found, states, strict=True)
    ]
    table(["system", "kind", "streams", "state", "since", "by", "why"], rows)


@system.command()
def pause(
    context: typer.Context,
    *,
    name: System,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; shown beside the system.")] = "",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Stop every read of a system within a second and leave no session or lock there, until it is resumed."""
    from bridge.halt import left

    opened = session(context)
    config = opened.config()
    config.system(name)
    stays = left(config, name)
    if dry_run:
        note(f"would stop every read of {name}" + (f"; {stays}" if stays else ""))
        return
    result = ask(opened, "system.pause", {"system": name, "reason": reason}).result
    say_result({**result, "left": stays or "nothing"}, as_json=as_json)


@system.command()
def resume(context: typer.Context, *, name: System, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Read a system again, from where it was left."""
    opened = session(context)
    if dry_run:
        from bridge.halt import halts

        with opened.journal(opened.config()) as journal:
            if name not in halts(journal):
                raise RequestRefused(f"system {name!r} is not paused", hint="See `legacy-bridge system list`.")
        note(f"would read {name} again")
        return
    say_result(ask(opened, "system.resume", {"system": name}).result, as_json=as_json)


def dba_script(context: typer.Context, *, system: System) -> None:
    """Print the SQL that a DBA runs once.

    A login that can only read, grants, publications and limits, and how to undo it all. Nothing is run.
    """
    from bridge.sources.postgres import dba

    config = session(context).config(require_contracts=False)
    letter = _letter(config, system)
    if not letter.setup.captures:
        hint = f"`legacy-bridge dba-letter {system}` prints what its views need."
        raise ConfigError(f"no stream reads the change log of system {system}", hint=hint)
    say(dba.dba_script(letter))


def dba_letter(context: typer.Context, *, system: System) -> None:
    """Print a letter to the DBA of a database.

    What is read, what it costs at most, the script of grants, how to undo it, and how to stop the bridge. In Markdown;
    nothing is run.
    """
    from bridge.sources.view.configured import letter_of
    from bridge.sources.view.letter import letter

    say(letter(letter_of(session(context).config(require_contracts=False), system)).rstrip())


def decommission(
    context: typer.Context,
    *,
    system: System,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be taken away.")] = False,
    yes: Yes = False,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Leave a legacy system and prove it.

    Ends the bridge's sessions, drops its slot, looks whether anything is left (exit 1 then), and prints the SQL for
    what only the DBA can remove. Stop the daemon first.
    """
    from bridge.postgres.configured import connect_settings
    from bridge.sources.postgres import configured, dba
    from bridge.sources.postgres.decommission import decommission as leave

    config = session(context).config(online=True)
    wanted, where = configured.setup(config, system), connect_settings(config, system)
    if dry_run:
        note(f"would drop slot {wanted.slot} and end the bridge's sessions at {where.place}")
        return
    if not yes:
        question = f"Drop slot {wanted.slot} at {where.place}? A new start reads every table again."
        typer.confirm(question, abort=True, err=True)
    gone = leave(where, wanted)
    if as_json:
        say_json(asdict(gone))
    else:
        slot = "slot dropped" if gone.slot_dropped else "there was no slot"
        say(f"{slot}; {gone.sessions_ended} sessions ended; left: {', '.join(gone.left) or 'nothing'}")
        note(f"For the DBA to remove ({', '.join(gone.for_the_dba)}):")
        say(dba.undo_script(_letter(config, system)))
    raise typer.Exit(1 if gone.left else 0)


def inspect(config: "Config", system: str) -> list[dict[str, Any]]:
    """The preflight of one system. Raises: SourceUnavailable, SourceRefused."""
    from bridge.postgres.configured import connect_settings
    from bridge.postgres.session import connect
    from bridge.sources.postgres import configured, preflight

    with connect(connect_settings(config, system), purpose="check") as connection:
        return [asdict(finding) for finding in preflight.inspect(connection, configured.setup(config, system))]


def _letter(config: "Config", system: str) -> "Letter":
    """For whom the DBA's script is made."""
    from bridge.sources.postgres import configured
    from bridge.sources.postgres.dba import Letter

    budget = config.system(system).budget
    database, login = configured.database_and_login(config, system)
    return Letter(
        setup=configured.setup(config, system),
        instance=config.bridge.name,
        database=database,
        login=login,
        connections=budget.connections,
        slot_gigabytes=max(1, int(budget.slot_gigabytes)),
    )
