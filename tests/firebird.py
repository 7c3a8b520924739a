"""A real Firebird 3 of one's own, for the tests: loopback only, its own root folder and its own list of users.

Dies with the process that started it. Needs Debian's `firebird3.0-server`; runs as whoever runs the tests.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from firebird import driver

from demo.processes import DIES_WITH_US, Process, end, free_port, launch, wait_until_up

PROGRAM = Path("/usr/sbin/firebird")
PASSWORD = "masterkey"  # noqa: S105  of a server for throw-away data
_HOME = Path("/usr/lib/x86_64-linux-gnu/firebird/3.0")
_SHARED = ("plugins", "UDF", "firebird.msg", "plugins.conf", "lib")
_SETTINGS = """
RemoteBindAddress = 127.0.0.1
RemoteServicePort = {port}
ServerMode = Super
SecurityDatabase = {folder}/security3.fdb
DatabaseAccess = Restrict {folder}
ExternalFileAccess = None
AuthServer = Srp
AuthClient = Srp
UserManager = Srp
"""
_USERS = """
create database '{folder}/security3.fdb' user SYSDBA;
in /usr/share/firebird/3.0/security.sql;
create user SYSDBA password '{password}' using plugin Srp;
commit;
"""


class FirebirdServer:
    """One running server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: Process | None = None

    @classmethod
    def start(cls) -> Self:
        """Start one in a temporary folder. Raises: RuntimeError with its log when it does not come up."""
        server = cls(Path(tempfile.mkdtemp(prefix="firebird-")))
        try:
            server._prepare()
            server._launch()
        except BaseException:
            server.close()
            raise
        return server

    def connect(self, path: Path | str, user: str = "SYSDBA", password: str = PASSWORD) -> Any:  # noqa: ANN401  the driver's
        """A session."""
        return driver.connect(f"127.0.0.1/{self.port}:{path}", user=user, password=password, charset="UTF8")

    def create_database(self) -> "FirebirdDatabase":
        """A fresh database, and a login that may read what is granted to it."""
        name = f"test_{uuid.uuid4().hex[:12]}".upper()
        path = self.folder / f"{name.lower()}.fdb"
        created = driver.create_database(
            f"127.0.0.1/{self.port}:{path}", user="SYSDBA", password=PASSWORD, charset="UTF8", overwrite=True
        )
        created.execute_immediate(f"CREATE USER {name} PASSWORD 'read'")
        created.commit()
        created.close()
        return FirebirdDatabase(self, name, path)

    def close(self) -> None:
        """End it and remove the folder."""
        end(self._process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "FIREBIRD": str(self.folder), "FIREBIRD_LOCK": str(self.folder / "lock")}

    def _prepare(self) -> None:
        (self.folder / "lock").mkdir()
        for name in _SHARED:
            (self.folder / name).symlink_to(_HOME / name)
        shutil.copytree(_HOME / "intl", self.folder / "intl")  # of a link it loads no character set
        (self.folder / "firebird.conf").write_text(_SETTINGS.format(port=self.port, folder=self.folder))
        (self.folder / "databases.conf").touch()
        script = _USERS.format(folder=self.folder, password=PASSWORD)
        command = ["isql-fb", "-q", "-b"]
        done = subprocess.run(
            command, check=False, input=script, capture_output=True, text=True, env=self._environment()
        )
        if done.returncode:
            raise RuntimeError(f"isql-fb failed: {done.stdout}{done.stderr}")

    def _launch(self) -> None:
        log = self.folder / "log"
        self._process = launch([*DIES_WITH_US, str(PROGRAM)], out=log, environment=self._environment())
        wait_until_up(self._process, self._answers, log=log)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=2.0).close()
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class FirebirdDatabase:
    """One database of a server; its name is also the name of a login that may read, password `read`."""

    server: FirebirdServer
    name: str
    path: Path

    def sql(self, *statements: str) -> Sequence[Sequence[Any]]:
        """Run statements as owner, each in a transaction of its own; the rows of the last."""
        connection = self.server.connect(self.path)
        found: Sequence[Sequence[Any]] = []
        try:
            for statement in statements:
                cursor = connection.cursor()
                cursor.execute(statement)
                found = cursor.fetchall() if cursor.description else []
                connection.commit()
        finally:
            connection.close()
        return found
