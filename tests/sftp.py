"""An SFTP server in a thread: serves a folder; breaks in the middle of calls and tells little where asked to."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from bridge.config.file import SftpConfig
from demo.processes import free_port

T = TypeVar("T")
CALLS = ("scandir", "lstat", "open", "read", "close", "mkdir", "rename")


class Answering(asyncssh.SFTPServer):
    """What is served; it may stop in the middle of a list, and tell little of files.

    Attributes:
        silent: lists do not end.
        asked: somebody waits for one.
        drip_s: between two hundreds of names.
        cut: the call in whose middle the connection breaks, once.
        untold: what it does not tell of a file.
    """

    silent = False
    asked = threading.Event()
    drip_s = 0.0
    cut: str | None = None
    untold: tuple[str, ...] = ()

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], *, chroot: bytes) -> None:
        super().__init__(channel, chroot=chroot)
        for name in CALLS:
            setattr(self, name, partial(self._called, name, getattr(self, name)))

    def _called(self, name: str, call: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401  whatever it gives
        try:
            return call(*arguments)
        finally:
            if type(self).cut == name:  # done, and nobody hears of it
                type(self).cut = None
                self.channel.get_connection().abort()

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """The files of a folder."""
        if self.silent:
            self.asked.set()
            await asyncio.sleep(3600)
        number = 0
        async for name in super().scandir(path):
            number += 1
            if number % 100 == 0:
                await asyncio.sleep(self.drip_s)
            yield name

    def format_longname(self, name: asyncssh.SFTPName) -> None:
        """The line for people, in which all is told."""
        super().format_longname(name)
        self._told(name.attrs)

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """What there is to say of a file."""
        found = os.lstat(self.map_path(path))
        return self._told(asyncssh.SFTPAttrs.from_local(found))

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Move a file, as many servers do it: over another one."""
        Path(os.fsdecode(self.map_path(oldpath))).replace(os.fsdecode(self.map_path(newpath)))

    def _told(self, attrs: asyncssh.SFTPAttrs) -> asyncssh.SFTPAttrs:
        for name in self.untold:
            setattr(attrs, name, None)
        return attrs


class Server:
    """An SSH server in a thread that serves SFTP below a folder to one user with one key.

    Attributes:
        port: where it listens.
        known_hosts: file with its host key.
        key: file with the user's key.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "remote"
        (self.root / "out").mkdir(parents=True)
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        user = asyncssh.generate_private_key("ssh-ed25519")
        self.key = folder / "user_key"
        user.write_private_key(str(self.key))
        self.known_hosts = folder / "known_hosts"
        self._authorized = folder / "authorized_keys"
        self._authorized.write_bytes(user.export_public_key())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = free_port()  # it starts again where it was
        self.start()
        public = self._host_key.export_public_key().decode()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}")

    def start(self) -> None:
        """Listen."""
        self._acceptor = self._do(self._listen())

    def stop(self) -> None:
        """Break every session and listen no more."""
        self._do(self._end())

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        root = bytes(self.root)
        return await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_host_keys=[self._host_key],
            authorized_client_keys=str(self._authorized),
            sftp_factory=lambda channel: Answering(channel, chroot=root),
        )

    async def _end(self) -> None:
        self._acceptor.close()
        await self._acceptor.wait_closed()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def config(self, **keys: object) -> SftpConfig:
        """How a client reaches it."""
        given = {"host": "127.0.0.1", "port": self.port, "user": "bridge", "private_key": str(self.key),
                 "known_hosts": str(self.known_hosts), "folder": "/out", **keys}  # fmt: skip
        return SftpConfig.model_validate(given, context={"folder": Path()})
