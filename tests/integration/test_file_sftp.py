"""Files are taken over SFTP from a real server, known by its host key, and by nothing else."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from bridge.config.file import SftpConfig
from bridge.errors import SourceUnavailable
from bridge.sources.file import pickup, sftp
from bridge.sources.file.sftp import Sftp
from tests.daemon import wait_for
from tests.files import Driven, FileDaemon, content, put
from tests.inbox import reckon_inbox
from tests.sftp import CALLS, Answering, Server


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
    for number in range(3_000):
        (server.root / "out" / f"A{number}").touch()
    monkeypatch.setattr(Answering, "drip_s", 0.1)  # a hundred names come in much less than the timeout, all in more
    monkeypatch.setattr(sftp, "_TIMEOUT_S", 2)
    place = Sftp(server.config())
    try:
        assert len(place.look()) == 3_000
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


def test_a_session_that_breaks_in_any_call_loses_and_doubles_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server did and nobody heard of is not done again, and not left undone."""
    monkeypatch.setattr(pickup, "_COARSE_S", 0)
    driven = Driven(tmp_path / "bridge", place=lambda: Sftp(server.config()))
    out = server.root / "out"
    for number, call in enumerate(CALLS):
        path = put(out, f"A{number}.DAT", content([2 * number, 2 * number + 1]))
        os.utime(path, (number, number))
        monkeypatch.setattr(Answering, "cut", call)
        broken = 0
        while list(out.glob("*.DAT")):
            try:
                driven.run()
            except SourceUnavailable:
                broken += 1
                driven.source.close()
                driven.restart()
        assert (call, broken, Answering.cut) == (call, 1, None)
    driven.source.close()
    assert driven.ids() == list(range(2 * len(CALLS)))
    archived = {path.name: path.read_bytes() for path in (out / "archive").iterdir()}
    assert archived == {f"A{number}.DAT": content([2 * number, 2 * number + 1]) for number in range(len(CALLS))}


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
