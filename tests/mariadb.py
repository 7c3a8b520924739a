"""A real MariaDB of one's own, for the tests: loopback only, its own folder, root without a password.

Dies with the process that started it. Needs Debian's `mariadb-server-core`; runs as whoever runs the tests.
"""

import os
import shutil
import subprocess
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pymysql

from demo.processes import DIES_WITH_US, Process, end, free_port, launch, wait_until_up

PROGRAM = Path("/usr/sbin/mariadbd")
_INSTALL = Path("/usr/bin/mariadb-install-db")
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
        self.port = free_port()
        self._process: Process | None = None

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
        end(self._process)
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
            *DIES_WITH_US, str(PROGRAM), "--no-defaults", f"--datadir={self.folder / 'data'}", f"--port={self.port}",
            f"--socket={self.folder / 'socket'}", f"--pid-file={self.folder / 'pid'}", *self._user(), *_OPTIONS,
            *options,
        ]  # fmt: skip
        self._process = launch(command, out=self.folder / "log")
        wait_until_up(self._process, self._answers, log=self.folder / "log")

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except pymysql.Error:
            return False
        return True


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
