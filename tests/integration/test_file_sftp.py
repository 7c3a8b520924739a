"""Files are taken over SFTP from a real server, known by its host key, and by nothing else."""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import pytest

from bridge.config.file import SftpConfig
from bridge.errors import SourceUnavailable
from bridge.sources.file import sftp
from bridge.sources.file.sftp import Sftp
from demo.processes import free_port
from tests.daemon import wait_for
from tests.files import FileDaemon, content, put
from tests.inbox import reckon_inbox

T = TypeVar("T")


class Answering(asyncssh.SFTPServer):
    """What is served; it may stop in the middle of a list, and tell little of files.

    Attributes:
        silent: lists do not end.
        asked: somebody waits for one.
        drip_s: between two names.
        untold: what it does not tell of a file.
    """

    silent = False
    asked = threading.Event()
    drip_s = 0.0
    untold: tuple[str, ...] = ()

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """The files of a folder."""
        if self.silent:
            self.asked.set()
            await asyncio.sleep(3600)
        async for name in super().scandir(path):
            if self.drip_s:
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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.stop()
    made.close()


def test_a_folder_is_listed_read_and_put_in_order(server: Server) -> None:
    data = content(range(1000)) * 300
    put(server.root / "out", "A1.DAT", data)
    (server.root / "out" / "sub").mkdir()
    place = Sftp(server.config())
    try:
        [listed] = place.look()
        assert (listed.name, listed.size) == ("A1.DAT", len(data))
        assert place.stat("A1.DAT") == listed
        pieces = list(place.pieces("A1.DAT"))
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= 1 << 19  # a line of 150 kbit/s brings it before the session is given up
        place.archive("A1.DAT", "archive")
        put(server.root / "out", "A1.DAT", b"other")
        place.archive("A1.DAT", "archive")
        assert sorted(path.name for path in (server.root / "out" / "archive").iterdir()) == ["A1.DAT", "A1.DAT.1"]
        assert place.stat("A1.DAT") is None
        place.delete("A1.DAT")
    finally:
        place.close()


def test_a_name_that_is_no_text_hides_no_other(server: Server) -> None:
    put(server.root / "out", "A1.DAT", b"one")
    put(server.root / "out", os.fsdecode(b"A\xff.DAT"), b"other")
    place = Sftp(server.config())
    try:
        assert sorted(listed.shown for listed in place.look()) == ["A1.DAT", "A\\udcff.DAT"]
    finally:
        place.close()


def test_a_server_with_another_key_is_not_trusted(server: Server, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    (tmp_path / "others").write_text(f"[127.0.0.1]:{server.port} {other}")
    place = Sftp(server.config(known_hosts=str(tmp_path / "others")))
    try:
        with pytest.raises(SourceUnavailable, match="its host key is not in"):
            place.look()
    finally:
        place.close()


def test_what_the_server_refuses_is_told(server: Server, tmp_path: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(tmp_path / "stranger"))
    for keys in ({"private_key": str(tmp_path / "stranger")}, {"folder": "/gone"}, {"port": 1}):
        place = Sftp(server.config(**keys))
        try:
            with pytest.raises(SourceUnavailable):
                place.look()
        finally:
            place.close()


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"known_hosts": "odd"}, "odd: is no file of known hosts"),
        ({"known_hosts": "absent"}, "absent: No such file"),
        ({"private_key": "absent"}, "absent: No such file"),
        ({"host": "a..b"}, "is no name of a server"),
    ],
)
def test_what_is_wrong_with_how_a_server_is_reached_is_told(
    keys: dict[str, str], what: str, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "odd").write_bytes(b"\xff\xfe what is this\n")
    place = Sftp(
        server.config(**{name: text if name == "host" else str(tmp_path / text) for name, text in keys.items()})
    )
    try:
        with pytest.raises(SourceUnavailable, match=what):
            place.look()
    finally:
        place.close()


def test_a_server_that_never_answers_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answering, "silent", True)
    monkeypatch.setattr(sftp, "_TIMEOUT_S", 1)
    place, told = Sftp(server.config()), list[SourceUnavailable]()

    def look() -> None:
        with pytest.raises(SourceUnavailable) as raised:
            place.look()
        told.append(raised.value)

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    assert Answering.asked.wait(30)
    server.stop()  # its handlers are gone, and the connection stands
    looker.join(30)
    assert "TimeoutError" in str(*told)
    place.close()


def test_a_long_list_may_take_longer_than_one_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(700):
        (server.root / "out" / f"A{number}").touch()
    monkeypatch.setattr(Answering, "drip_s", 0.003)  # a hundred names come in less than the timeout, all in more
    monkeypatch.setattr(sftp, "_TIMEOUT_S", 1)
    place = Sftp(server.config())
    try:
        assert len(place.look()) == 700
        monkeypatch.setattr(sftp, "_MOST_NAMES", 500)
        with pytest.raises(SourceUnavailable, match="more than 500 names"):
            place.look()
    finally:
        place.close()


def test_a_server_that_greets_nobody_is_left_as_soon_as_that_is_wanted(tmp_path: Path) -> None:
    """The kill switch ends also what has not become a session yet."""
    (tmp_path / "known_hosts").touch()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        given = {"host": "127.0.0.1", "port": listener.getsockname()[1], "user": "bridge", "password": "x",
                 "known_hosts": str(tmp_path / "known_hosts")}  # fmt: skip
        place, told = Sftp(SftpConfig.model_validate(given, context={"folder": Path()})), list[SourceUnavailable]()

        def look() -> None:
            for _ in range(2):  # and none is begun behind it
                with pytest.raises(SourceUnavailable) as raised:
                    place.look()
                told.append(raised.value)

        looker = threading.Thread(target=look, daemon=True)
        looker.start()
        session, _ = listener.accept()
        with session:
            session.recv(100)
            place.interrupt()
            looker.join(10)
            assert [error.detail.partition(": ")[2] for error in told] == ["ECONNABORTED"] * 2
            session.settimeout(10)
            while session.recv(4096):  # its end
                pass
        place.close()


def test_a_server_that_tells_little_hides_no_file_and_archives_over_none(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answering, "untold", ("permissions",))
    (server.root / "out" / "sub").mkdir()
    place = Sftp(server.config())
    try:
        for text in (b"one", b"two", b"three"):
            put(server.root / "out", "A1.DAT", text)
            [listed] = place.look()
            assert place.stat("A1.DAT") == listed
            place.archive("A1.DAT", "archive")
        kept = (server.root / "out" / "archive").iterdir()
        assert {path.name: path.read_bytes() for path in kept} == {
            "A1.DAT": b"one", "A1.DAT.1": b"two", "A1.DAT.2": b"three"
        }  # fmt: skip
        put(server.root / "out", "A1.DAT", b"four")
        monkeypatch.setattr(Answering, "untold", ("atime", "mtime"))
        assert [listed.oddity for listed in place.look()] == [
            "the server does not say how large it is or when it was changed"
        ]
    finally:
        place.close()


def test_a_daemon_takes_files_over_sftp_also_when_the_server_restarts(server: Server, tmp_path: Path) -> None:
    (tmp_path / "bridge").mkdir()
    sftp = {"host": "127.0.0.1", "port": server.port, "user": "bridge", "private_key": str(server.key),
            "known_hosts": str(server.known_hosts), "folder": "out"}  # fmt: skip
    with FileDaemon(tmp_path / "bridge", sftp=sftp) as daemon:
        put(server.root / "out", "A1.DAT", content(range(1000)))
        daemon.start()
        wait_for(lambda: len(daemon.changes("articles")) == 1000, why=daemon.log_tail)
        server.stop()
        server.start()
        put(server.root / "out", "A2.DAT", content(range(1000, 2000)))
        # A call that was under way as the server went is given up after its own time.
        wait_for(lambda: len(daemon.changes("articles")) == 2000, within_s=110, why=daemon.log_tail)
        wait_for(lambda: not list((server.root / "out").glob("*.DAT")), why=daemon.log_tail)
        daemon.stop()
        reckon_inbox(daemon, "articles", *range(2000))
    assert sorted(path.name for path in (server.root / "out" / "archive").iterdir()) == ["A1.DAT", "A2.DAT"]
