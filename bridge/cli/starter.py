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
from bridge.errors import BridgeError, ConfigError, Declined

if TYPE_CHECKING:
    from bridge.cli.session import Session
    from bridge.config.models import Config
    from bridge.sources.view.extractor import ViewExtractor

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

    Every mistake at once, with file and line. --online also looks at logins, grants, views, publications, tables, slots
    and folders of files.
    Exit 78 for a mistake in a file, 1 when a system would be refused.
    """
    from bridge.config.mistakes import each

    opened = session(context)
    try:
        config = opened.config(online=online)
    except ConfigError as error:
        if not as_json:
            raise
        say_json({"ok": False, "mistakes": each(error), "warnings": [], "findings": []})
        raise typer.Exit(ConfigError.exit_code) from error
    mistakes = [*contract_mistakes(config), *view.mistakes(config)]
    warnings = [*config.warnings, *([] if mistakes else view.warnings(config))]
    findings = [] if mistakes or not online else list(_findings(opened, config))
    refused = bool(mistakes) or any(finding["level"] in ("refuse", "fail") for finding in findings)
    if as_json:
        say_json({"ok": not refused, "mistakes": mistakes, "warnings": warnings, "findings": findings})
    else:
        _print(config, mistakes, warnings=warnings, findings=findings)
    if mistakes:
        raise typer.Exit(ConfigError.exit_code)
    raise typer.Exit(1 if refused else 0)


def contract_mistakes(config: "Config") -> Iterator[str]:
    """What is wrong with each contract and layout, with file and line."""
    from bridge.config.mistakes import each
    from bridge.contract.document import ContractDocument, load

    documents: dict[Path, ContractDocument] = {}
    for path in dict.fromkeys(stream.contract for stream in config.streams.values()):
        try:
            documents[path] = load(path)
        except ConfigError as error:
            yield from each(error)
    if config.systems_of("file"):
        from bridge.sources.file.configured import mistakes

        for name, stream in config.streams.items():
            if stream.contract in documents:
                yield from mistakes(config, name, documents[stream.contract])


def _findings(opened: "Session", config: "Config") -> Iterator[dict[str, Any]]:
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
            yield _refused(system, system, error)
    for system in config.systems:
        if config.streams_of(system, "view"):
            yield from _of_views(opened, config, system)


def _of_views(opened: "Session", config: "Config", system: str) -> Iterator[dict[str, Any]]:
    """Whether a system's login may read its views and do nothing else: plans are asked for, nothing is run."""
    from bridge.sources.view.configured import view_of

    views = {stream: view_of(config, stream) for stream in config.streams_of(system, "view")}
    try:
        with view.reading(opened, config, system, views) as extractor:
            for stream in views:
                yield _of_view(extractor, system, stream)
            yield from _of_load(config, extractor, system)
    except Declined as error:
        yield {**_refused(system, "views", error), "level": "warn"}
    except BridgeError as error:
        if config.systems[system].kind != "postgres":  # of that the preflight has said it
            yield _refused(system, system, error)


def _of_load(config: "Config", extractor: "ViewExtractor", system: str) -> Iterator[dict[str, Any]]:
    """Limits of the budget that the system says nothing about."""
    from dataclasses import asdict

    from bridge.extraction.budget import unseen
    from bridge.extraction.declared import limits_of
    from bridge.extraction.findings import blind

    budget = config.systems[system].budget
    if budget.busy_sessions or budget.replica_lag_s:
        names = unseen(limits_of(config, system), extractor.probe())
        if names:
            yield {"system": system, **asdict(blind(system, names))}


def _of_view(extractor: "ViewExtractor", system: str, stream: str) -> dict[str, Any]:
    """Whether one view may be read."""
    subject = f"view of {stream}"
    try:
        is_told = extractor.explain(stream) is not None
    except BridgeError as error:
        return _refused(system, subject, error)
    if is_told:
        level, detail, fix = "ok", "may be read", ""
    else:
        level, detail, fix = "warn", "was not tried: plans of such a database are not read", "Try `view sample`."
    return {"system": system, "level": level, "code": "view.read", "subject": subject, "detail": detail, "fix": fix}


def _refused(system: str, subject: str, error: BridgeError) -> dict[str, Any]:
    """An error as a finding."""
    found = {"level": "refuse", "code": error.code, "subject": subject, "detail": error.detail}
    return {"system": system, **found, "fix": error.hint}


def _reached(config: "Config", system: str) -> dict[str, Any] | None:
    """What is wrong with the folder of a system that leaves files; None when it can be looked into."""
    from bridge.sources.file.configured import place

    opened = None
    try:
        opened = place(config, system)()
        opened.look()
    except BridgeError as error:
        return _refused(system, system, error)
    finally:
        if opened is not None:
            opened.close()
    return None


def _print(config: "Config", mistakes: list[str], *, warnings: list[str], findings: list[dict[str, Any]]) -> None:
    for mistake in mistakes:
        note(f"error: {mistake}")
    for warning in warnings:
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
