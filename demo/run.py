"""The demonstration: an ERP at work, the bridge beside it, a live view, and at the end a reckoning.

Starts a PostgreSQL server with the demo ERP, `legacy-bridge run` on the repository's own bridge.yaml with what
`demo/outside.yaml` adds, a webhook receiver, a live reader, the generator that plays a business day and a mainframe
that leaves files beside it; each is a process of its own and dies with this one. The webhook receiver is killed in the
middle of the day and comes back later. When the day is over and everybody has caught up, the daemon is stopped and
`demo.reckoning`, again a process of its own, compares what was committed with what the public commands give and with
what the receivers hold. What is shown on the way comes from the journal and proves nothing; the reckoning does.
"""

import base64
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import yaml

from bridge.cli.status import overview
from bridge.config.load import load
from bridge.config.models import Config
from bridge.journal.sqlite import SqliteJournal
from bridge.ports import Journal
from bridge.standing import standings
from demo import receipts
from demo.erp import build
from demo.processes import free_port
from demo.server import Database, PostgresServer
from demo.view import View

REPOSITORY = Path(__file__).parent.parent
SYSTEM = "erp"
START_S = 30.0
CATCH_UP_S = 120.0
STOP_S = 60.0
POLL_S = 0.1
DIES_WITH_US = ("setpriv", "--pdeathsig", "TERM")


class DemoFailed(Exception):
    """A part of the demonstration did not do its work; says where to look."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demonstration happens."""

    folder: Path  # configuration, contracts, journal, oracle file, logs
    erp: Database
    environment: Mapping[str, str]  # of every child: where the ERP is, and which port the daemon may use

    @property
    def config_file(self) -> Path:
        """The repository's reference configuration, copied."""
        return self.folder / "bridge.yaml"

    @property
    def hook_file(self) -> Path:
        """What the webhook receiver noted."""
        return self.folder / "hook.jsonl"

    @property
    def live_file(self) -> Path:
        """What the live reader noted."""
        return self.folder / "live.jsonl"

    @property
    def lake(self) -> Path:
        """The Parquet data set."""
        return self.folder / "var" / "lake"

    @property
    def oracle_file(self) -> Path:
        """What the generator committed, by its own word."""
        return self.folder / "oracle.jsonl"

    @property
    def drop(self) -> Path:
        """Where the mainframe leaves its files."""
        return self.folder / "drop"

    @property
    def files_file(self) -> Path:
        """What the mainframe delivered, by its own word."""
        return self.folder / "files.jsonl"


def run(*, seconds: float, rate: float, keep: Path | None = None) -> int:
    """Play the demonstration; returns the reckoning's exit code.

    Args:
        seconds: how long the ERP works.
        rate: its transactions per second.
        keep: a new folder for configuration, journal, oracle file and logs; None throws them away.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with _stage(keep) as stage:
            _play(stage, seconds=seconds, rate=rate)
            return _reckon(stage)
    except DemoFailed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1


@contextmanager
def _stage(keep: Path | None) -> Iterator[Stage]:
    """Server, ERP and a folder with the reference configuration; all gone afterwards, but for `keep`."""
    with ExitStack() as cleaning:
        if keep is None:
            keep = Path(cleaning.enter_context(tempfile.TemporaryDirectory(prefix="legacy-bridge-demo-")))
        keep.mkdir(parents=True, exist_ok=True)
        (keep / "bridge.yaml").write_text(_deployment(), encoding="utf-8")
        (keep / "drop").mkdir()
        for part in ("contracts", "views", "demo/host"):
            shutil.copytree(REPOSITORY / part, keep / Path(part).name, dirs_exist_ok=True)
        print("starting the ERP's PostgreSQL ...", flush=True)
        server = cleaning.enter_context(PostgresServer.start())
        erp = build(server)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "BRIDGE_"))}
        own = {
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "BRIDGE_HTTP__PORT": str(free_port()),
            "DEMO_HOOK_PORT": str(free_port()),
            "DEMO_HOOK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        }
        yield Stage(keep, erp, inherited | own)


def _deployment() -> str:
    """The reference deployment with what the demonstration adds to its sections."""
    reference, outside = (
        yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8")) for name in ("bridge.yaml", "demo/outside.yaml")
    )
    added = {section: {**reference.get(section, {}), **keys} for section, keys in outside.items()}
    return yaml.safe_dump({**reference, **added}, sort_keys=False)


def _play(stage: Stage, *, seconds: float, rate: float) -> None:
    """Run daemon and generator side by side until the journal holds the whole day."""
    config = load(stage.config_file, environ=stage.environment)
    with _child(stage, "daemon", ["bridge", "run", "--config", str(stage.config_file)]) as daemon:
        # From here on nothing that commits can be missed: before it, the daemon had nothing to resume from.
        _wait(stage, daemon, lambda: _confirmed(stage) is not None, "created its slot", timeout_s=START_S)
        journal = SqliteJournal.open(config.bridge.journal.sqlite, owner=False)
        try:
            day = ["demo.business", "--dsn", stage.erp.dsn, "--rate", f"{rate:g}", "--seconds", f"{seconds:g}"]
            files = ["demo.mainframe", "--folder", str(stage.drop), "--seconds", f"{seconds:g}"]
            with View() as view, Hook(stage) as hook, _live_reader(stage, config):
                begun = time.monotonic()
                with (
                    _child(stage, "mainframe", [*files, "--oracle", str(stage.files_file)]) as mainframe,
                    _child(stage, "generator", [*day, "--oracle", str(stage.oracle_file)]) as generator,
                ):
                    while working := [each for each in (generator, mainframe) if each.poll() is None]:
                        _require(stage, daemon)
                        hook.play(part=(time.monotonic() - begun) / seconds)
                        view.show(_figures(journal, config))
                        _rest(working[0])
                hook.play(part=1.0)
                _catch_up(stage, journal, config, daemon=daemon, view=view)
        finally:
            journal.close()


class Hook:
    """The webhook receiver: killed for a part of the day, without a word to the bridge."""

    DEAD = (0.4, 0.6)  # from, to, as parts of the day

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._process: subprocess.Popen[bytes] | None = None
        self._was_killed = False

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def play(self, *, part: float) -> None:
        """Do what this part of the day asks for."""
        if part >= self.DEAD[0] and not self._was_killed:
            self._was_killed = True
            self._kill()
            print("the webhook receiver is killed", flush=True)
        if part >= self.DEAD[1] and self._process is None:
            self._start()
            print("the webhook receiver is back", flush=True)

    def _start(self) -> None:
        port = self._stage.environment["DEMO_HOOK_PORT"]
        self._process = subprocess.Popen(
            [*DIES_WITH_US, sys.executable, "-m", "demo.hook", "--port", port, "--file", str(self._stage.hook_file)],
            cwd=REPOSITORY,
            env=dict(self._stage.environment),
            stdin=subprocess.DEVNULL,
        )

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def _live_reader(stage: Stage, config: Config) -> Iterator[None]:
    """A reader over the HTTP door, with an API key of its own."""
    bridge = [sys.executable, "-m", "bridge", "--config", str(stage.config_file)]
    environment = dict(stage.environment)
    made = subprocess.run(
        [*bridge, "key", "create", "dashboard", "--json"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )
    if made.returncode:
        raise DemoFailed(f"no API key was made: {made.stderr}")
    environment["DEMO_LIVE_KEY"] = json.loads(made.stdout)["key"]
    url = f"http://127.0.0.1:{environment['BRIDGE_HTTP__PORT']}"
    arguments = ["--url", url, "--file", str(stage.live_file), *config.streams]
    process = subprocess.Popen(
        [*DIES_WITH_US, sys.executable, "-m", "demo.live", *arguments],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _catch_up(stage: Stage, journal: Journal, config: Config, *, daemon: "subprocess.Popen[bytes]", view: View) -> None:
    """Wait until the bridge has confirmed all that was committed, taken every file and completed every first load."""
    end = int(stage.erp.sql("SELECT pg_current_wal_lsn() - '0/0'")[0][0])
    ended_at = datetime.now(UTC)
    polled = [name for name, declared in config.streams.items() if declared.view is not None]

    def is_read(stream: str) -> bool:
        runs = journal.runs(stream=stream, limit=10)
        return any(run.state == "done" and run.started_at > ended_at for run in runs)

    def caught_up() -> bool:
        view.show(_figures(journal, config))
        loads = journal.position(SYSTEM)[1].get("snapshots", {}).values()
        return (_confirmed(stage) or 0) >= end and all(
            (
                *(load.get("phase") == "done" for load in loads),
                *map(is_read, polled),
                not any(stage.drop.glob("*.DAT")),  # put away
            )
        )

    def delivered() -> bool:
        view.show(_figures(journal, config))
        events = sum(extent.last for extent in journal.extents().values())
        is_all = len({event["id"] for event in receipts.noted(stage.live_file)}) >= events
        return is_all and all(sink["behind"] == sink["pending"] == 0 for sink in standings(journal, config))

    _wait(stage, daemon, caught_up, "caught up", timeout_s=CATCH_UP_S)
    _wait(stage, daemon, delivered, "delivered everything", timeout_s=CATCH_UP_S)


def _reckon(stage: Stage) -> int:
    """Let a process that shares nothing with the daemon count."""
    arguments = ["--oracle", str(stage.oracle_file), "--dsn", stage.erp.dsn, "--config", str(stage.config_file)]
    arguments += ["--files", str(stage.files_file)]
    arguments += ["--hook", str(stage.hook_file), "--live", str(stage.live_file), "--lake", str(stage.lake)]
    command = [*DIES_WITH_US, sys.executable, "-m", "demo.reckoning", *arguments]
    return subprocess.run(command, check=False, cwd=REPOSITORY, env=dict(stage.environment)).returncode


@contextmanager
def _child(stage: Stage, name: str, module: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python module as a process that is stopped at the end and dies with this one; its output goes to a file.

    Raises: DemoFailed when it does not end cleanly.
    """
    with (stage.folder / f"{name}.log").open("wb") as log:
        command = [*DIES_WITH_US, sys.executable, "-m", *module]
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=dict(stage.environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if process.returncode:
        raise DemoFailed(f"the {name} ended with {process.returncode}{_tail(stage, name)}")


def _confirmed(stage: Stage) -> int | None:
    """How far the bridge has confirmed to the server, by the server's word; None before the slot is usable."""
    found = stage.erp.sql(
        "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots "
        "WHERE database = current_database() AND confirmed_flush_lsn IS NOT NULL AND NOT temporary"
    )
    return int(found[0][0]) if found else None


def _figures(journal: Journal, config: Config) -> dict[str, Any]:
    return overview(journal, config, now=datetime.now(UTC))


def _wait(
    stage: Stage, daemon: "subprocess.Popen[bytes]", condition: Callable[[], bool], what: str, *, timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        _require(stage, daemon)
        if time.monotonic() > deadline:
            raise DemoFailed(f"the daemon has not {what} within {timeout_s:.0f} s{_tail(stage, 'daemon')}")
        time.sleep(POLL_S)


def _require(stage: Stage, daemon: "subprocess.Popen[bytes]") -> None:
    if daemon.poll() is not None:
        raise DemoFailed(f"the daemon ended early{_tail(stage, 'daemon')}")


def _rest(process: "subprocess.Popen[bytes]") -> None:
    """Sleep a moment, or less when the process ends."""
    try:
        process.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return


def _tail(stage: Stage, name: str, lines: int = 15) -> str:
    """The end of a child's log, below a message."""
    log = (stage.folder / f"{name}.log").read_text(errors="replace").splitlines()
    return "\n  ".join([":", *log[-lines:]])
