"""`legacy-bridge init` and `check`: a project to start from, and everything that is wrong with one, at once."""

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli import view
from bridge.cli.session import session
from bridge.cli.show import note, on_terminal, say, say_json, table
from bridge.errors import BridgeError, ConfigError

if TYPE_CHECKING:
    from bridge.config.models import Config

HIDDEN = {"gitignore": ".gitignore"}  # names that packaging would treat as its own


class FolderNotEmpty(BridgeError):
    """A project is asked for where something is already."""

    code = "init.not_empty"
    default_hint = "Choose another folder, or --force to add what is missing; no existing file is changed."
    exit_code = 73


def init(
    *,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the project.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Also in a folder that is not empty.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only name the files.")] = False,
) -> None:
    """Make a project to start from.

    A configuration, a contract and a README that says what to do next; `check` passes on it as it is.
    """
    if not force and folder.exists() and any(folder.iterdir()):
        raise FolderNotEmpty(f"{folder} is not empty")
    for relative, template in _templates(resources.files("bridge") / "templates"):
        target = folder / relative
        if target.exists():
            note(f"kept   {target}")
            continue
        if not dry_run:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(template.read_bytes())
        note(f"{'would make' if dry_run else 'made  '} {target}")
    note(f"Next: read {folder / 'README.md'}")


def check(
    context: typer.Context,
    *,
    online: Annotated[bool, typer.Option("--online", help="Also look at the legacy systems.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Check the configuration, the contracts and the views.

    Every mistake at once, with file and line. --online also looks at logins, grants, publications, tables and slots.
    Exit 78 for a mistake in a file, 1 when a system would be refused.
    """
    opened = session(context)
    config = opened.config(online=online)
    mistakes = [*contract_mistakes(config), *view.mistakes(config)]
    findings = [] if mistakes or not online else list(_findings(config))
    refused = bool(mistakes) or any(finding["level"] in ("refuse", "fail") for finding in findings)
    if as_json:
        warnings = list(config.warnings)
        say_json({"ok": not refused, "mistakes": mistakes, "warnings": warnings, "findings": findings})
    else:
        _print(config, mistakes, findings)
    if mistakes:
        raise typer.Exit(ConfigError.exit_code)
    raise typer.Exit(1 if refused else 0)


def contract_mistakes(config: "Config") -> Iterator[str]:
    """What is wrong with each contract and layout, with file and line."""
    from bridge.contract.document import ContractDocument, load

    documents: dict[Path, ContractDocument] = {}
    for path in dict.fromkeys(stream.contract for stream in config.streams.values()):
        try:
            documents[path] = load(path)
        except ConfigError as error:
            yield error.detail
    if config.systems_of("file"):
        from bridge.sources.file.configured import mistakes

        for name, stream in config.streams.items():
            if stream.contract in documents:
                yield from mistakes(config, name, documents[stream.contract])


def _findings(config: "Config") -> Iterator[dict[str, Any]]:
    """What the preflight of each system found; a system that cannot be reached is a finding too."""
    from bridge.cli.systems import inspect

    for system in config.systems_of("file"):
        found = _reached(config, system)
        if found is not None:
            yield found
    for system in config.systems_of("postgres"):
        try:
            for finding in inspect(config, system):
                yield {"system": system, **finding}
        except BridgeError as error:
            found = {"level": "refuse", "code": error.code, "subject": system, "detail": error.detail}
            yield {"system": system, **found, "fix": error.hint}


def _reached(config: "Config", system: str) -> dict[str, Any] | None:
    """What is wrong with the folder of a system that leaves files; None when it can be looked into."""
    from bridge.sources.file.configured import place

    opened = None
    try:
        opened = place(config, system)()
        opened.look()
    except BridgeError as error:
        found = {"level": "refuse", "code": error.code, "subject": system, "detail": error.detail}
        return {"system": system, **found, "fix": error.hint}
    finally:
        if opened is not None:
            opened.close()
    return None


def _print(config: "Config", mistakes: list[str], findings: list[dict[str, Any]]) -> None:
    for mistake in mistakes:
        note(f"error: {mistake}")
    for warning in config.warnings:
        note(f"warning: {warning}")
    if findings:
        bad_first = sorted(findings, key=lambda finding: finding["level"] not in ("refuse", "fail"))
        headings = ["system", "level", "subject", "what", "what to do"]
        fields = ["system", "level", "subject", "detail", "fix"]
        table(headings, [[finding[field] for field in fields] for finding in bad_first])
    if not mistakes:
        count = len(config.streams)
        say(f"{config.path}: {count} stream{'s' if count > 1 else ''}, no mistakes")
    if not findings and not mistakes and on_terminal():
        note("`legacy-bridge check --online` also looks at the legacy systems.")


def _templates(folder: Traversable, below: Path = Path()) -> Iterator[tuple[Path, Traversable]]:
    """Every file of the starter project with its place in it."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        place = below / HIDDEN.get(entry.name, entry.name)
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _templates(entry, place)
        else:
            yield place, entry
