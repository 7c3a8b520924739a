"""The command line: what is asked for, in words; each command's work is in the module of its name.

Promises: `--help` imports nothing heavy (each command imports what it needs when it runs); errors are BridgeError and
leave through `bridge.__main__`; every reading command knows `--json`, every writing one `--dry-run`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bridge import __version__
from bridge.cli import (
    alarms,
    audit,
    care,
    compare,
    cursors,
    daemon,
    demo,
    doctor,
    drafts,
    events,
    keys,
    layouts,
    letters,
    runs,
    sinks,
    starter,
    status,
    streams,
    systems,
    view,
)
from bridge.cli.session import Session

EXIT_CODES = """\
Exit codes: 0 done; 1 a check failed, a difference was found or a request was refused; 2 wrong usage; 65 data is
damaged; 66 no such thing; 69 a system or the daemon cannot be reached; 70 a fault of our own; 73 a file cannot be
created; 74 the disk failed; 75 busy, try again; 77 not permitted; 78 the configuration is wrong; 130, 141, 143 ended by
a signal.

The configuration is ./bridge.yaml, else $XDG_CONFIG_HOME/legacy-bridge/bridge.yaml, else
/etc/legacy-bridge/bridge.yaml; --config may stand anywhere on the line.
"""

cli = typer.Typer(
    help="Turns systems nobody can change into contract-checked event streams, and never loses a business event.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: importing rich would triple its time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - called by typer
    if wanted:
        typer.echo(f"legacy-bridge {__version__}")
        raise typer.Exit


@cli.callback()
def _options(
    context: typer.Context,
    *,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="The configuration file.")] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    context.obj = Session(given=config)


cli.command()(starter.init)
cli.command()(drafts.draft)
cli.command()(starter.check)
cli.command()(doctor.doctor)
cli.command()(daemon.run)
cli.command()(daemon.reload)
cli.command()(daemon.health)
cli.command()(status.status)
cli.command()(events.events)
cli.add_typer(letters.dead, name="dead")
cli.add_typer(streams.stream, name="stream")
cli.command()(streams.snapshot)
cli.add_typer(sinks.sink, name="sink")
cli.add_typer(cursors.cursor, name="cursor")
cli.add_typer(alarms.alarm, name="alarm")
cli.add_typer(care.journal, name="journal")
cli.add_typer(audit.audit, name="audit")
cli.add_typer(keys.key, name="key")
cli.add_typer(runs.runs, name="runs")
cli.command()(runs.bill)
cli.add_typer(systems.system, name="system")
cli.add_typer(view.view, name="view")
cli.add_typer(layouts.file, name="file")
cli.command("dba-script")(systems.dba_script)
cli.command("dba-letter")(systems.dba_letter)
cli.command()(systems.decommission)
cli.command()(compare.compare)
cli.command()(demo.demo)


_HOISTED = ("--config", "--server", "--key-file")


def chosen(arguments: Sequence[str]) -> typer.Typer:
    """The command line for these arguments: with `--server`, the one that speaks to a running daemon."""
    if not arguments or arguments[0].partition("=")[0] not in ("--server", "--key-file"):
        return cli
    from bridge.cli.remote import remote

    return remote


def hoisted(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--config FILE` and its like moved to the front, where the global options are read.

    People and service units write `legacy-bridge run --config FILE` as well as `legacy-bridge --config FILE run`.
    """
    front: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            rest += [argument, *left]
        elif argument in _HOISTED:
            front += [argument, *[value for value in [next(left, None)] if value is not None]]
        elif argument.partition("=")[0] in _HOISTED:
            front.append(argument)
        else:
            rest.append(argument)
    return front + rest
