"""`legacy-bridge journal`: prove it sound, copy it, put a copy back."""

from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.options import DryRun, Json, Yes
from bridge.cli.session import session
from bridge.cli.show import note, say, say_json
from bridge.errors import JournalCorrupt, JournalUnavailable

_OWN_FILES = ("", "-wal", "-shm", ".lock")  # behind the journal's name

journal = typer.Typer(help="The journal: verify, backup, restore.", no_args_is_help=True)


@journal.command()
def verify(context: typer.Context, *, as_json: Json = False) -> None:
    """Read everything back and compare.

    While the daemon runs or not; exit 65 when anything is not as it was written.
    """
    opened = session(context)
    with opened.journal(opened.config()) as kept:
        damages = kept.verify()
    if as_json:
        say_json({"sound": not damages, "damages": damages})
    else:
        say("sound" if not damages else "\n".join(damages))
    raise typer.Exit(JournalCorrupt.exit_code if damages else 0)


@journal.command()
def backup(
    context: typer.Context,
    *,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the copy.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write a consistent copy.

    While the daemon runs or not; the file is complete or not there. One that is there is replaced with --force only.
    """
    opened = session(context)
    config = opened.config()
    _allow(target, config.bridge.journal.sqlite, force=force)
    if dry_run:
        note(f"would copy {config.bridge.journal.sqlite} to {target}")
        return
    with opened.journal(config) as kept:
        kept.backup(target)
    size = target.stat().st_size
    if as_json:
        say_json({"file": target, "size_bytes": size})
    else:
        note(f"{target}: {size} bytes")


@journal.command()
def restore(
    context: typer.Context,
    *,
    copy: Annotated[Path, typer.Argument(metavar="FILE", help="A copy made by backup.", show_default=False)],
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Put a copy in the journal's place.

    The daemon must be stopped; the present journal is set aside, not deleted.

    What was journalled since the copy was made is declared as a gap and read again from the legacy system.
    """
    from bridge.journal.backup import restore as put_back

    path = session(context).config().bridge.journal.sqlite
    if not copy.is_file():
        raise JournalUnavailable(f"there is no backup at {copy}", hint="Name a file that `journal backup` wrote.")
    if dry_run:
        note(f"would put {copy} in the place of {path}")
        return
    if path.exists() and not yes:
        typer.confirm(f"Put {copy} in the place of {path}?", abort=True, err=True)
    aside = put_back(copy, path)
    if as_json:
        say_json({"journal": path, "former": aside})
    else:
        note(f"restored {path}" + (f"; the former journal is {aside}" if aside else ""))


def _allow(target: Path, path: Path, *, force: bool) -> None:
    """Raises: FileNotWritten where a copy of the journal would take the place of what must stay."""
    from bridge.cli.files import FileNotWritten

    if target.resolve() in {Path(f"{path.resolve()}{suffix}") for suffix in _OWN_FILES}:
        raise FileNotWritten(f"{target} is the journal's own", hint="Name a file that is not the journal's.")
    if target.is_dir():
        raise FileNotWritten(f"{target} is a folder", hint="Name a file in it.")
    if not target.parent.is_dir():
        raise FileNotWritten(f"there is no folder {target.parent}", hint="Make it first, or name another.")
    if target.exists() and not force:
        raise FileNotWritten(f"{target} is there already", hint="Name another file, or replace it with --force.")
