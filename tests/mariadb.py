"""A real MariaDB of one's own, for the tests: loopback only, its own folder, root without a password.

Dies with the process that started it. Needs Debian's `mariadb-server-core`; runs as whoever runs the tests.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pymysql

PROGRAM = Path("/usr/sbin/mariadbd")
_INSTALL = Path("/usr/bin/mariadb-install-db")
START_TIMEOUT_S = 60.0
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
# The kernel kills a child when the *thread* that started it ends; this one lives as long as the process.
_LAUNCHER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mariadb-launcher")
_PORTS = range(20_000, 32_000)
_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--innodb-log-file-size=16M",
    "--innodb-buffer-pool-size=64M",
    "--innodb-flush-log-at-trx-commit=0",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--max-allowed-packet=64M",
)


class MariaServer:
    """One running server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, *options: str) -> Self:
        """Start one in a temporary folder. Raises: RuntimeError with its log when it does not come up."""
        server = cls(Path(tempfile.mkdtemp(prefix="mariadb-")))
        try:
            server._prepare()
            server._launch(options)
        except BaseException:
            server.close()
            raise
        return server

    def connect(self, user: str = "root", password: str = "", database: str | None = None) -> "pymysql.Connection[Any]":
        """A session in autocommit."""
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, database=database, autocommit=True
        )

    def sql(self, *statements: str, database: str | None = None) -> tuple[tuple[Any, ...], ...]:
        """Run statements as root, one by one; the rows of the last."""
        connection = self.connect(database=database)
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return tuple(cursor.fetchall())
        finally:
            connection.close()

    def create_database(self) -> "MariaDatabase":
        """A fresh database, and a login that may read it and nothing else."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.sql(
            f"CREATE DATABASE {name}",
            f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'read'",
            f"GRANT SELECT ON {name}.* TO {name}@'127.0.0.1'",
        )
        return MariaDatabase(self, name)

    def close(self) -> None:
        """End it and remove the folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _prepare(self) -> None:
        data = self.folder / "data"
        command = [str(_INSTALL), "--no-defaults", f"--datadir={data}", "--skip-test-db", *self._user()]
        command += ["--auth-root-authentication-method=normal", "--innodb-log-file-size=16M"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"mariadb-install-db failed: {done.stdout}{done.stderr}")

    def _user(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []

    def _launch(self, options: tuple[str, ...]) -> None:
        command = [
            *_DIES_WITH_US, str(PROGRAM), "--no-defaults", f"--datadir={self.folder / 'data'}", f"--port={self.port}",
            f"--socket={self.folder / 'socket'}", f"--pid-file={self.folder / 'pid'}", *self._user(), *_OPTIONS,
            *options,
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            popen = _LAUNCHER.submit(
                subprocess.Popen, command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            self._process = popen.result()
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.connect().close()
            except pymysql.Error as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = (self.folder / "log").read_text(errors="replace")[-4000:]
                    raise RuntimeError(f"mariadbd did not come up:\n{said}") from error
                time.sleep(0.02)
            else:
                return


@dataclass(frozen=True, slots=True)
class MariaDatabase:
    """One database of a server; its name is also the name of a login that may read it, password `read`."""

    server: MariaServer
    name: str

    def sql(self, *statements: str) -> tuple[tuple[Any, ...], ...]:
        """Run statements as root; the rows of the last."""
        return self.server.sql(*statements, database=self.name)

    def drop(self) -> None:
        """Drop it with its login."""
        self.server.sql(f"DROP DATABASE {self.name}", f"DROP USER {self.name}@'127.0.0.1'")


def _free_port() -> int:
    while True:
        port = random.choice(_PORTS)  # noqa: S311  no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
