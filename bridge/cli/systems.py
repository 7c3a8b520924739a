"""`legacy-bridge dba-script` and `decommission`: what a legacy system's DBA runs once, and how all of it is undone."""

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.session import session
from bridge.cli.show import note, say, say_json
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.config.models import Config, SystemConfig
    from bridge.sources.postgres.dba import Letter
    from bridge.sources.postgres.session import ConnectSettings
    from bridge.sources.postgres.setup import Setup

System = Annotated[str, typer.Argument(metavar="SYSTEM", help="Name of the legacy system.", show_default=False)]


def dba_script(context: typer.Context, *, system: System) -> None:
    """Print the SQL that a DBA runs once.

    A login that can only read, grants, publications and limits, and how to undo it all. Nothing is run.
    """
    from bridge.sources.postgres import dba

    config = session(context).config()
    say(dba.dba_script(_letter(config, system)))


def decommission(
    context: typer.Context,
    *,
    system: System,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be taken away.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Leave a legacy system and prove it.

    Ends the bridge's sessions, drops its slot, looks whether anything is left (exit 1 then), and prints the SQL for
    what only the DBA can remove. Stop the daemon first.
    """
    from bridge.sources.postgres import dba
    from bridge.sources.postgres.decommission import decommission as leave

    config = session(context).config(online=True)
    wanted, where = setup(config, system), settings(config, system)
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
    from bridge.sources.postgres import preflight
    from bridge.sources.postgres.session import connect

    with connect(settings(config, system), purpose="check") as connection:
        return [asdict(finding) for finding in preflight.inspect(connection, setup(config, system))]


def settings(config: "Config", system: str) -> "ConnectSettings":
    """How to reach a configured system. Raises: ConfigError when there is none of that name."""
    from bridge.sources.postgres.session import ConnectSettings

    postgres = _declared(config, system).postgres
    return ConnectSettings(
        instance=config.bridge.name,
        host=postgres.host,
        port=postgres.port,
        database=postgres.database,
        user=postgres.user,
        password=postgres.password.reveal if postgres.password else None,
        sslmode=postgres.sslmode,
        sslrootcert=postgres.sslrootcert,
        sslcert=postgres.sslcert,
        sslkey=postgres.sslkey,
        passfile=postgres.passfile,
        service=postgres.service,
        connect_timeout_s=postgres.connect_timeout_s,
    )


def setup(config: "Config", system: str) -> "Setup":
    """The tables of a configured system, and the names of what its server keeps for us."""
    from bridge.sources.postgres.setup import Capture, Setup

    declared = _declared(config, system)
    captures = (Capture(each.log, each.capture_secrets) for each in config.streams_of(system).values())
    return Setup(
        captures=tuple(captures),
        slot=declared.postgres.slot,
        publication=declared.postgres.publication,
        insert_publication=declared.postgres.insert_publication,
        failover=declared.postgres.failover,
        waivers=frozenset(declared.allow),
    )


def _letter(config: "Config", system: str) -> "Letter":
    """For whom the DBA's script is made."""
    from bridge.sources.postgres.dba import Letter

    declared = _declared(config, system)
    return Letter(
        setup=setup(config, system),
        instance=config.bridge.name,
        database=declared.postgres.database or os.environ.get("PGDATABASE", "postgres"),
        login=declared.postgres.user or os.environ.get("PGUSER", "bridge_ro"),
        connections=declared.budget.connections,
        slot_gigabytes=max(1, int(declared.budget.slot_gigabytes)),
    )


def _declared(config: "Config", system: str) -> "SystemConfig":
    found = config.systems.get(system)
    if found is None:
        known = ", ".join(sorted(config.systems))
        raise ConfigError(f"there is no system {system!r}", hint=f"The systems of {config.path} are: {known}.")
    return found
