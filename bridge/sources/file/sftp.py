"""A folder behind SFTP. See `places.Place`.

The server is known by the host key that the operator gave; nothing else is trusted. The session is opened when it is
needed first, and lives on one event loop of the thread that reads the source.
"""

import asyncio
import errno
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import asyncssh

from bridge.config.file import SftpConfig
from bridge.errors import SourceUnavailable
from bridge.sources.file.places import PIECE_BYTES, UNTOLD_NS, Listed, free_name

_T = TypeVar("_T")
_TIMEOUT_S = 30
_PIECE_BYTES = PIECE_BYTES // 8  # what a slow line brings within the timeout
_LOOK_S = 900  # for a whole list, however steadily it drips
_MOST_NAMES = 1_000_000


class Sftp:
    """A folder on a server.

    Args:
        server: how it is reached.
    """

    def __init__(self, server: SftpConfig) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None
        self._task: asyncio.Future[Any] | None = None  # what is being asked
        self._is_interrupted = False

    def look(self) -> list[Listed]:
        """See the port. A long list may take its time while it grows."""
        names: list[asyncssh.SFTPName] = []

        async def read(session: asyncssh.SFTPClient) -> None:
            async with asyncio.timeout(_LOOK_S):
                async for entry in session.scandir(self._server.folder):
                    names.append(entry)
                    if len(names) > _MOST_NAMES:
                        raise SourceUnavailable(
                            f"{self._server.folder} holds more than {_MOST_NAMES} names", hint="Empty the folder."
                        )

        with self._reached():
            self._do(read(self._session()), turns=lambda: len(names))
        found = [(str(entry.filename), entry.attrs, str(entry.longname or "")) for entry in names]
        return [_listed(name, attrs) for name, attrs, shown in found if name[:1] != "." and _is_file(attrs, shown)]

    def stat(self, name: str) -> Listed | None:
        """See the port."""
        with self._reached():
            try:
                attrs = self._do(self._session().lstat(self._path(name)))
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
                return None
        return _listed(name, attrs) if _is_file(attrs, "") else None

    def pieces(self, name: str) -> Iterator[bytes]:
        """See the port."""
        with self._reached():
            file = self._do(self._session().open(self._path(name), "rb"))
            try:
                while True:
                    piece: Any = self._do(file.read(_PIECE_BYTES))  # bytes, as it was opened
                    if not piece:
                        break
                    yield piece
            finally:
                with suppress(asyncssh.Error, OSError):  # what was read is read, and what went wrong is told already
                    self._do(file.close())

    def archive(self, name: str, folder: str) -> str:
        """See the port."""
        with self._reached():
            session = self._session()
            target = folder if folder.startswith("/") else self._path(folder)
            self._do(session.makedirs(target, exist_ok=True))
            # Looked for first: SFTP renames over nothing, where the server keeps the rule.
            place = f"{target}/{free_name(name, target, lambda each: self._is_there(f'{target}/{each}'))}"
            self._do(session.rename(self._path(name), place))
        return place

    def delete(self, name: str) -> None:
        """See the port."""
        with self._reached():
            try:
                self._do(self._session().remove(self._path(name)))
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
                return

    def interrupt(self) -> None:
        """See the port: the session ends, and none begins."""
        self._is_interrupted = True
        if not self._loop.is_closed():
            with suppress(RuntimeError):  # closed in this very moment
                self._loop.call_soon_threadsafe(self._end)

    def close(self) -> None:
        """See the port."""
        if self._loop.is_closed():
            return
        self._loop.run_until_complete(self._leave())
        self._loop.close()

    async def _leave(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._connection.wait_closed(), _TIMEOUT_S)
        await self._loop.shutdown_asyncgens()

    def _path(self, name: str) -> str:
        return f"{self._server.folder.rstrip('/') or ''}/{name}"

    def _is_there(self, path: str) -> bool:
        try:
            self._do(self._session().lstat(path))
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            return False
        return True

    def _do(self, work: Awaitable[_T], *, turns: Callable[[], int] = lambda: 0) -> _T:
        """Wait for an answer of the server, as long as `turns` grows within the timeout."""

        async def within() -> _T:
            self._task = task = asyncio.ensure_future(work)
            if self._is_interrupted:
                self._end()
            before = -1
            while not task.done() and turns() > before:
                before = turns()
                await asyncio.wait({task}, timeout=_TIMEOUT_S)
            if task.cancelled():
                raise ConnectionAbortedError(errno.ECONNABORTED, "interrupted")
            if task.done():
                return task.result()
            self._end()
            await asyncio.gather(asyncio.wait_for(task, _TIMEOUT_S), return_exceptions=True)
            raise TimeoutError

        return self._loop.run_until_complete(within())

    def _end(self) -> None:
        """Give up what is being asked."""
        if self._connection is not None:  # cancelled alone, it asks the server to close its handles, and waits
            self._connection.abort()
        if self._task is not None:
            self._task.cancel()

    def _session(self) -> asyncssh.SFTPClient:
        if self._client is None:
            self._connection = self._do(self._connect())
            self._client = self._do(self._connection.start_sftp_client(path_errors="surrogateescape"))
        return self._client

    async def _connect(self) -> asyncssh.SSHClientConnection:
        server = self._server
        keys = None
        if server.private_key is not None:
            passphrase = server.passphrase.reveal() if server.passphrase is not None else None
            keys = [asyncssh.read_private_key(server.private_key, passphrase)]
        try:
            hosts = asyncssh.read_known_hosts(str(server.known_hosts))
        except ValueError as error:
            raise SourceUnavailable(
                f"{server.known_hosts}: is no file of known hosts",
                hint="Write it as OpenSSH does: host, kind of key, key.",
            ) from error
        return await asyncssh.connect(
            server.host,
            server.port,
            username=server.user,
            password=server.password.reveal() if server.password is not None else None,
            client_keys=keys,
            known_hosts=hosts,
            agent_path=None,
            config=None,
            connect_timeout=_TIMEOUT_S,
            keepalive_interval=15,
        )

    @contextmanager
    def _reached(self) -> Iterator[None]:
        server = self._server
        where = f"{server.user}@{server.host}:{server.port}"
        try:
            yield
        except asyncssh.SFTPError as error:
            raise SourceUnavailable(
                f"{where}: {server.folder}: {error.reason}", hint="Check the folder and the rights of the login."
            ) from error
        except asyncssh.HostKeyNotVerifiable as error:
            raise SourceUnavailable(
                f"{where}: its host key is not in {server.known_hosts}",
                hint="Compare the key with the server's owner, and put it there.",
            ) from error
        except (asyncssh.Error, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise SourceUnavailable(
                f"{where}: {type(error).__name__}", hint="Check the login and its key or password."
            ) from error
        except UnicodeError as error:
            raise SourceUnavailable(f"{where}: is no name of a server", hint="Mend `host`.") from error
        except (OSError, TimeoutError) as error:
            if error.filename:
                hint = "Check `private_key` and `known_hosts` of the server."
                raise SourceUnavailable(f"{error.filename}: {error.strerror}", hint=hint) from error
            code = errno.errorcode.get(error.errno or 0, type(error).__name__)
            raise SourceUnavailable(
                f"{where}: {code}", hint="Check that the server is up and can be reached."
            ) from error


def _is_file(attrs: asyncssh.SFTPAttrs, shown: str) -> bool:
    """Whether a name is a plain file's; of one whose type the server does not tell, by the line it shows to people."""
    kind = stat.S_IFMT(attrs.permissions or 0)
    return kind == stat.S_IFREG if kind else shown[:1] not in ("d", "l")


def _listed(name: str, attrs: asyncssh.SFTPAttrs) -> Listed:
    if attrs.mtime is None or attrs.size is None:
        return Listed(name, attrs.size or 0, UNTOLD_NS)
    return Listed(name, attrs.size, attrs.mtime * 1_000_000_000 + (attrs.mtime_ns or 0))
