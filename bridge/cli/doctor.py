"""`legacy-bridge doctor`: one look at everything an installation needs, each line with what to do about it.

Every probe is independent: one that fails says so and the others still run. Nothing is changed; no value is shown.
"""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge import __version__
from bridge.cli.daemon import DaemonUnreachable, fetch
from bridge.cli.session import Session, session
from bridge.cli.show import moment_of, say_json, table
from bridge.cli.starter import contract_mistakes
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.config.models import Config

LIBRARIES = ("numpy", "polars", "psycopg", "pyarrow", "pydantic", "sqlglot")
LOW_BYTES, FULL_BYTES = 2 << 30, 200 << 20  # of free space: look at it soon, and at once
CLOCK_SLACK = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Probe:
    """What one look found."""

    subject: str
    status: str  # ok, warn, fail
    what: str
    action: str = ""  # what to do; empty when all is well


def doctor(
    context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False
) -> None:
    """Look at everything an installation needs.

    Versions, configuration, disk, journal, clock and daemon, each with what to do; exit 1 when something fails.
    """
    found = list(examine(session(context)))
    if as_json:
        say_json([asdict(probe) for probe in found])
    else:
        rows = [(probe.subject, probe.status, probe.what, probe.action) for probe in found]
        table(["subject", "status", "what", "what to do"], rows)
    raise typer.Exit(1 if any(probe.status == "fail" for probe in found) else 0)


def examine(opened: Session) -> Iterator[Probe]:
    """Every probe in turn; those that need a configuration only when there is one."""
    yield from _guarded("versions", _versions)
    try:
        config = opened.config()
    except BridgeError as error:
        yield Probe("configuration", "fail", error.detail, error.hint)
        return
    yield from _guarded("configuration", lambda: _configuration(config))
    path = config.bridge.journal.sqlite
    yield from _guarded("disk", lambda: _disk(path))
    yield from _guarded("journal", lambda: _journal(opened, config))
    yield from _guarded("daemon", lambda: _daemon(config))


def _guarded(subject: str, probe: Callable[[], Iterator[Probe]]) -> Iterator[Probe]:
    """A probe whose own failure is a finding."""
    try:
        yield from probe()
    except BridgeError as error:
        yield Probe(subject, "fail", error.detail, error.hint)
    except OSError as error:
        yield Probe(subject, "fail", f"{error.filename or ''} {error.strerror or error}".strip(), "Check the file.")


def _versions() -> Iterator[Probe]:
    from importlib import metadata

    import apsw

    from bridge.journal.database import require_sqlite

    yield Probe("legacy-bridge", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    require_sqlite(apsw.sqlite_lib_version())
    yield Probe("sqlite", "ok", apsw.sqlite_lib_version())
    yield Probe("libraries", "ok", ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES))


def _configuration(config: "Config") -> Iterator[Probe]:
    for warning in config.warnings:
        yield Probe("configuration", "warn", warning, "Mend it, or live with it knowingly.")
    mistakes = list(contract_mistakes(config))
    for mistake in mistakes:
        yield Probe("contract", "fail", mistake, "Mend the file and run `legacy-bridge check`.")
    if not mistakes:
        yield Probe("configuration", "ok", f"{config.path}: contracts of {len(config.streams)} stream(s) valid")


def _disk(journal: Path) -> Iterator[Probe]:
    folder = next(parent for parent in journal.parents if parent.exists())
    free = shutil.disk_usage(folder).free
    status = "ok" if free >= LOW_BYTES else "warn" if free >= FULL_BYTES else "fail"
    action = "" if status == "ok" else "Free space, or lower bridge.retain: a full disk stops the bridge."
    yield Probe("disk", status, f"{free / (1 << 30):.1f} GiB free below {folder}", action)
    if not os.access(folder, os.W_OK):
        yield Probe("disk", "fail", f"{folder} is not writable for this user", "Run as the daemon's user.")


def _journal(opened: Session, config: "Config") -> Iterator[Probe]:
    path = config.bridge.journal.sqlite
    if not path.exists():
        yield Probe("journal", "warn", f"{path} does not exist yet", "The first `legacy-bridge run` makes it.")
        return
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        yield Probe("journal", "fail", f"{path} is open to others (mode {mode:o})", f"chmod 600 {path}")
    with opened.journal(config) as journal:
        extents = journal.extents()
        for name, extent in extents.items():  # the newest events are those a power cut would have hit
            for _block in journal.read(name, after=max(extent.first - 1, extent.last - 1)):
                pass
        for system in config.systems_of("postgres"):
            journal.position(system)
    size = sum(extent.bytes for extent in extents.values())
    what = f"{sum(extent.last for extent in extents.values())} events, {size / (1 << 20):.1f} MiB; quick look: sound"
    yield Probe("journal", "ok", what)
    newest = max((extent.last_journalled_at for extent in extents.values() if extent.last_journalled_at), default=None)
    yield _clock(newest, now=datetime.now(UTC))


def _clock(newest: datetime | None, *, now: datetime) -> Probe:
    """Whether this machine's clock stands before what it journalled itself."""
    if newest is not None and newest > now + CLOCK_SLACK:
        what = f"the newest event was journalled {newest - now} in the future"
        return Probe("clock", "fail", what, "Set the clock; run a time service.")
    return Probe("clock", "ok", f"{now:%Y-%m-%d %H:%M:%S}Z")


def _daemon(config: "Config") -> Iterator[Probe]:
    try:
        report = fetch(config, "/health").report
    except DaemonUnreachable as error:
        yield Probe("daemon", "warn", error.detail, error.hint)
        return
    checks = report.get("checks", {})
    for name, check in checks.items():
        if check.get("status") != "pass":
            yield Probe(name, check["status"], f"since {moment_of(check['since'])}: {check['what']}", check["action"])
    yield Probe("daemon", "ok", f"answers; {len(checks)} components, {report.get('status')}")
