"""A file is taken once, whole and in order; what is not a file of its layout is told and stays."""

import errno
import gzip
import os
import threading
import zipfile
from pathlib import Path

import pytest

from bridge.errors import PositionLost, SourceRefused, SourceUnavailable
from bridge.sources.file.pickup import Pickup
from bridge.sources.file.places import Folder, Listed, free_name
from tests.files import LAYOUT, LENGTH, Driven, content, put, record

MANY = range(100_000)  # articles of a file that is read in pieces


@pytest.fixture
def driven(tmp_path: Path) -> Driven:
    return Driven(tmp_path)


def test_files_are_taken_in_order_of_their_names_and_archived_after_the_commit(driven: Driven) -> None:
    put(driven.drop, "A2.DAT", content([3, 4]))
    put(driven.drop, "A1.DAT", content([1, 2]))
    put(driven.drop, "OTHER.TXT", b"not ours")
    first = driven.window()
    assert first is not None
    assert driven.names() == ["A1.DAT", "A2.DAT", "OTHER.TXT"]  # nothing is put away that no journal holds
    driven.journal(first)
    driven.run()
    assert driven.rows() == [(1, "N1", 1), (2, "N2", 1), (3, "N3", 1), (4, "N4", 1)]
    assert driven.names() == ["OTHER.TXT"]
    assert driven.archived() == ["A1.DAT", "A2.DAT"]
    assert not driven.settings.spool.exists()


def test_files_are_taken_oldest_first_where_that_is_asked_for(tmp_path: Path) -> None:
    driven = Driven(tmp_path, by_time=True)
    os.utime(put(driven.drop, "A1.DAT", content([1])), (2_000, 2_000.5))
    os.utime(put(driven.drop, "A2.DAT", content([2])), (1_000, 1_000.5))
    driven.run()
    assert driven.ids() == [2, 1]


def test_rows_say_where_they_come_from_and_have_the_same_ids_for_ever(driven: Driven, tmp_path: Path) -> None:
    put(driven.drop, "A1.DAT", content([1, 2]))
    driven.run()
    batch = driven.windows[0].batches[0]
    assert batch.columns.column("$file").to_pylist() == ["A1.DAT", "A1.DAT"]
    assert batch.columns.column("$number").to_pylist() == [1, 2]
    assert batch.columns.column("$offset").to_pylist() == [0, LENGTH]
    assert batch.columns.column("$record").to_pylist() == [record(1), record(2)]
    (tmp_path / "again").mkdir()
    again = Driven(tmp_path / "again")
    put(again.drop, "B-OTHER-NAME.DAT".replace("B", "A", 1), content([1, 2]))
    again.run()
    for name in ("_position", "_tx_index"):
        assert again.windows[0].batches[0].changes.column(name) == batch.changes.column(name)


def test_the_same_content_is_told_and_not_taken_twice(driven: Driven) -> None:
    put(driven.drop, "A1.DAT", content([1]))
    driven.run()
    put(driven.drop, "A2.DAT", content([1]))
    driven.restart()
    driven.run()
    assert driven.ids() == [1]
    assert driven.outcomes == ["taken", "duplicate"]
    assert [one["outcome"] for one in driven.state["recent"]] == ["taken", "duplicate"]  # at once, for who asks
    assert driven.names() == []


@pytest.mark.parametrize(("refuses", "ids"), [(False, [1, 2]), (True, [1])])
def test_another_content_under_a_name_is_taken_or_refused(refuses: bool, ids: list[int], tmp_path: Path) -> None:  # noqa: FBT001
    driven = Driven(tmp_path, refuses_same_name=refuses)
    put(driven.drop, "A1.DAT", content([1]))
    driven.run()
    put(driven.drop, "A1.DAT", content([2]))
    driven.run()
    assert driven.ids() == ids
    assert [finding.code for finding in driven.source.findings()] == (["file.refused"] if refuses else [])
    assert driven.names() == (["A1.DAT"] if refuses else [])


def test_a_file_that_is_left_lying_is_taken_once_also_after_a_restart(tmp_path: Path) -> None:
    driven = Driven(tmp_path, after="leave")
    put(driven.drop, "A1.DAT", content([1]))
    driven.run()
    driven.restart()
    driven.run()
    assert (driven.ids(), driven.outcomes, driven.names()) == ([1], ["taken"], ["A1.DAT"])


def test_a_taken_file_is_deleted_where_that_is_asked_for(tmp_path: Path) -> None:
    driven = Driven(tmp_path, after="delete")
    put(driven.drop, "A1.DAT", content([1]))
    driven.run()
    assert (driven.ids(), driven.names()) == ([1], [])


def test_an_archive_never_loses_a_file_to_another_of_its_name(driven: Driven) -> None:
    for number in (1, 2, 3):
        put(driven.drop, "A1.DAT", content([number]))
        driven.run()
    assert driven.archived() == ["A1.DAT", "A1.DAT.1", "A1.DAT.2"]


def test_an_archive_on_a_file_system_without_links_loses_none_either(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for number in (1, 2):
        put(driven.drop, "A1.DAT", content([number]))
        driven.run()
    assert (driven.archived(), driven.names()) == (["A1.DAT", "A1.DAT.1"], [])


def test_a_growing_file_is_waited_for_and_so_are_those_behind_it(tmp_path: Path) -> None:
    driven, clock = Driven(tmp_path, settle_s=10), [0.0]
    driven.source._memory.pickup.clock = lambda: clock[0]
    path = put(driven.drop, "A1.DAT", content([1]))
    put(driven.drop, "A2.DAT", content([9]))
    assert driven.window() is None
    clock[0] = 9
    with path.open("ab") as file:
        file.write(content([2]))
    assert driven.window() is None
    clock[0] = 18
    assert driven.window() is None
    clock[0] = 19
    driven.run()
    assert driven.ids() == [1, 2, 9]


def test_a_file_is_complete_when_its_marker_is_there(tmp_path: Path) -> None:
    driven = Driven(tmp_path, done=".done", settle_s=1000)
    put(driven.drop, "A1.DAT", content([1]))
    driven.run()
    assert driven.ids() == []
    put(driven.drop, "A1.DAT.done", b"")
    driven.run()
    assert (driven.ids(), driven.names()) == ([1], [])


def test_an_empty_file_is_taken_without_rows_as_often_as_it_comes(driven: Driven) -> None:
    for name in ("A1.DAT", "A2.DAT"):
        put(driven.drop, name, b"")
        driven.run()
    assert (driven.ids(), driven.outcomes, driven.names()) == ([], ["taken", "taken"], [])


def test_a_file_that_is_cut_short_gives_its_whole_records_and_one_fault(driven: Driven) -> None:
    put(driven.drop, "A1.DAT", content([1, 2])[:-3])
    driven.run()
    batch = driven.windows[0].batches[0]
    assert batch.columns.column("id").to_pylist() == [1, None]
    assert batch.columns.column("$fault").to_pylist() == [None, "the file ends after 16 of 19 bytes"]
    assert batch.columns.column("$record").to_pylist()[1] == record(2)[:-3]
    assert batch.marks["id"].rows.tolist() == [1]


@pytest.mark.parametrize(("trailer", "ids"), [("00000002", [1, 2]), ("00000003", [])])
def test_a_trailer_has_to_count_the_records(trailer: str, ids: list[int], tmp_path: Path) -> None:
    driven = Driven(tmp_path, layout=LAYOUT + "header_records: 1\ntrailer: {at: 2, length: 8}\n")
    head, tail = ("H".ljust(LENGTH), f"T{trailer}".ljust(LENGTH))
    put(driven.drop, "A1.DAT", head.encode("cp037") + content([1, 2]) + tail.encode("cp037"))
    driven.run()
    assert driven.ids() == ids
    assert len(driven.source.findings()) == (0 if ids else 1)


def test_packed_files_are_unpacked_within_bounds(tmp_path: Path) -> None:
    driven = Driven(tmp_path, pattern="A*.DAT*", limit_bytes=1000)
    put(driven.drop, "A1.DAT.gz", gzip.compress(content([1])) + gzip.compress(content([2])) + bytes(512))
    with zipfile.ZipFile(driven.folder / "A2.DAT.zip", "w") as archive:
        archive.writestr("inside.dat", content([3]))
    put(driven.drop, "A2.DAT.zip", (driven.folder / "A2.DAT.zip").read_bytes())
    put(driven.drop, "A3.DAT.gz", gzip.compress(content(range(1000))))
    put(driven.drop, "A4.DAT.gz", gzip.compress(content([4]))[:-9])
    put(driven.drop, "A5.DAT.zip", b"no archive")
    put(driven.drop, "A6.DAT", content(range(1000)))
    driven.run()
    assert driven.ids() == [1, 2, 3]
    assert driven.names() == ["A3.DAT.gz", "A4.DAT.gz", "A5.DAT.zip", "A6.DAT"]
    assert driven.outcomes.count("refused") == 4


@pytest.mark.parametrize(("method", "damage"), [
    (zipfile.ZIP_LZMA, (b"\x5d\0\0", b"\xff\0\0")), (zipfile.ZIP_BZIP2, (b"1AY&SY", b"1AZ&SY")),
    (zipfile.ZIP_STORED, ("ä".encode(), b"\xc3\xff")), (zipfile.ZIP_DEFLATED, (b"PK\1\2", b"PK\1\1")),
])  # fmt: skip
def test_an_archive_that_is_damaged_anywhere_stops_nothing(
    method: int, damage: tuple[bytes, bytes], tmp_path: Path
) -> None:
    driven = Driven(tmp_path, pattern="A*")
    with zipfile.ZipFile(tmp_path / "made.zip", "w", method) as archive:
        archive.writestr("ä.dat", content([1]) * 30)
    packed = (tmp_path / "made.zip").read_bytes()
    assert damage[0] in packed
    put(driven.drop, "A1.zip", packed.replace(*damage))
    put(driven.drop, "A2.DAT", content([2]))
    driven.run()
    assert (driven.ids(), driven.names()) == ([2], ["A1.zip"])


def test_a_file_is_gone_on_with_in_the_middle_after_a_death_anywhere(tmp_path: Path) -> None:
    data = content(MANY)
    driven = Driven(tmp_path)
    put(driven.drop, "A1.DAT", data)
    for _ in range(3):
        given_up = driven.window()  # read, and lost with the process
        driven.restart()
        window = driven.window()
        assert window is not None
        assert given_up is not None
        assert given_up.position == window.position
        driven.journal(window)
        driven.restart()
    driven.run()
    assert driven.ids() == list(MANY)
    assert driven.names() == []


def test_the_content_is_fetched_again_when_our_copy_is_gone(driven: Driven) -> None:
    put(driven.drop, "A1.DAT", content(MANY))
    window = driven.window()
    assert window is not None
    driven.journal(window)
    for copy in driven.settings.spool.iterdir():
        copy.unlink()
    driven.restart()
    driven.run()
    assert driven.ids() == list(MANY)


def test_a_gap_is_declared_when_the_rest_of_a_content_is_gone(driven: Driven) -> None:
    path = put(driven.drop, "A1.DAT", content(MANY))
    window = driven.window()
    assert window is not None
    driven.journal(window)
    for copy in driven.settings.spool.iterdir():
        copy.unlink()
    path.write_bytes(content([77]))
    driven.restart()
    with pytest.raises(PositionLost) as lost:
        driven.window()
    driven.renew(lost.value)
    gap = driven.windows[-1].batches[0]
    assert gap.changes.column("_op").to_pylist() == [ord("g")]
    assert '"from": "A1.DAT record' in gap.changes.column("_note")[0].as_py()
    driven.run()
    assert driven.ids()[-1] == 77


def test_it_stops_instead_where_that_is_asked_for(tmp_path: Path) -> None:
    driven = Driven(tmp_path, stops_when_lost=True)
    path = put(driven.drop, "A1.DAT", content(MANY))
    window = driven.window()
    assert window is not None
    driven.journal(window)
    for copy in driven.settings.spool.iterdir():
        copy.unlink()
    path.unlink()
    driven.restart()
    with pytest.raises(SourceRefused):
        driven.window()


def test_a_file_that_changed_after_it_was_taken_is_not_put_away(driven: Driven) -> None:
    path = put(driven.drop, "A1.DAT", content([1]))
    window = driven.window()
    assert window is not None
    with path.open("ab") as file:
        file.write(content([2]))
    driven.journal(window)
    driven.run()
    assert driven.ids() == [1, 1, 2]  # another content under its name


def test_a_folder_that_is_not_there_is_waited_for(driven: Driven) -> None:
    driven.drop.rmdir()
    with pytest.raises(SourceUnavailable):
        driven.window()
    driven.drop.mkdir()
    put(driven.drop, "A1.DAT", content([1]))
    driven.restart()
    driven.run()
    assert driven.ids() == [1]


def test_streams_take_records_of_their_own_from_one_file(tmp_path: Path) -> None:
    driven = Driven(tmp_path, patterns={"articles": "A*.DAT", "again": "A?.DAT"})
    put(driven.drop, "A1.DAT", content([1, 2]))
    driven.run()
    assert [batch.stream for window in driven.windows for batch in window.batches] == ["articles", "again"]
    assert driven.ids() == [1, 2, 1, 2]


def test_links_are_not_followed(driven: Driven) -> None:
    secret = driven.folder / "secret"
    secret.write_bytes(content([1]))
    (driven.drop / "A1.DAT").symlink_to(secret)
    driven.run()
    assert driven.ids() == []


def test_behind_a_length_that_cannot_be_nothing_is_taken_for_a_record(tmp_path: Path) -> None:
    driven = Driven(tmp_path, layout=LAYOUT + "record: rdw\n")
    head = (LENGTH + 4).to_bytes(2, "big") + b"\0\0"
    broken = b"\0\1\0\0"
    many = b"".join(head + record(number) for number in range(50_000))
    put(driven.drop, "A1.DAT", head + record(7) + broken + many)
    driven.run()
    assert driven.ids() == [7, None]
    (fault,) = driven.windows[0].batches[0].columns.column("$fault").drop_null().to_pylist()
    assert fault == f"no record begins here; {len(broken + many)} bytes to the end of the file are not read"


def test_a_file_of_which_the_journal_could_not_speak_is_told_and_stops_nothing(driven: Driven) -> None:
    put(driven.drop, os.fsdecode(b"A\xff.DAT"), content([1]))
    put(driven.drop, "A\x1b[2J\n'.DAT", content([2]))
    driven.run()
    driven.run()
    assert driven.ids() == [2]
    [finding] = driven.source.findings()
    assert "A\\udcff.DAT: its name is no UTF-8" in finding.detail
    assert Listed("A1.DAT", 0, 10**24).oddity is not None


def test_a_name_in_the_archive_that_leads_nowhere_is_taken(driven: Driven) -> None:
    (driven.drop / "archive").mkdir()
    (driven.drop / "archive" / "A1.DAT").symlink_to("nowhere")
    put(driven.drop, "A1.DAT", content([1]))
    driven.run()
    assert (driven.archived(), driven.names()) == (["A1.DAT", "A1.DAT.1"], [])


def test_an_archive_on_another_file_system_is_told_as_that(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link", "A1.DAT", None, "archive/A1.DAT")

    monkeypatch.setattr(os, "link", refuse)
    put(driven.drop, "A1.DAT", content([1]))
    with pytest.raises(SourceUnavailable, match=r"archive/A1\.DAT: Invalid cross-device link") as told:
        driven.run()
    assert "on the file system of the folder" in (told.value.hint or "")
    assert driven.ids() == [1]


def test_names_that_come_and_go_while_a_folder_is_looked_over_stop_nothing(tmp_path: Path) -> None:
    for number in range(200):
        put(tmp_path / "drop", f"A{number}", b"")
    put(tmp_path / "drop", "STILL", b"")
    place, stop = Folder(tmp_path / "drop"), threading.Event()

    def rename() -> None:
        while not stop.is_set():
            for path in (tmp_path / "drop").glob("A*"):
                path.rename(path.with_suffix("" if path.suffix else ".part"))

    writer = threading.Thread(target=rename)
    writer.start()
    try:
        for _ in range(200):
            assert "STILL" in {listed.name for listed in place.look()}
    finally:
        stop.set()
        writer.join()


def test_other_content_is_taken_also_where_name_size_and_time_are_those_of_a_file_that_was(driven: Driven) -> None:
    """As where a writer sets the times of its files, or none."""
    for number in (1, 2):
        os.utime(put(driven.drop, "A1.DAT", content([number])), (1_000, 1_000.5))
        driven.run()
    assert driven.ids() == [1, 2]
    assert driven.archived() == ["A1.DAT", "A1.DAT.1"]


def test_a_folder_is_not_listed_anew_for_each_of_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driven, looks = Driven(tmp_path, poll_s=30), list[int]()
    for number in range(300):
        put(driven.drop, f"A{number:03}.DAT", content([number]))
    look = Folder.look

    def counted(place: Folder) -> list[Listed]:
        looks.append(len(found := look(place)))
        return found

    monkeypatch.setattr(Folder, "look", counted)
    driven.run()
    assert driven.ids() == list(range(300))
    assert looks == [300, 0]


def test_a_file_that_goes_while_those_before_it_are_taken_stops_nothing(tmp_path: Path) -> None:
    driven = Driven(tmp_path, poll_s=30)
    for number in (1, 2, 3):
        put(driven.drop, f"A{number}.DAT", content([number]))
    window = driven.window()
    assert window is not None
    (driven.drop / "A2.DAT").unlink()
    driven.journal(window)
    driven.run()
    assert driven.ids() == [1, 3]


def test_a_file_of_which_fewer_bytes_come_than_it_has_is_not_taken(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(driven.drop, "A1.DAT", content([1, 2]))
    monkeypatch.setattr(Folder, "pieces", lambda _place, _name: iter([content([1])]))
    with pytest.raises(SourceUnavailable, match=f"{LENGTH} bytes came of {2 * LENGTH}"):
        driven.run()
    monkeypatch.undo()
    driven.restart()
    driven.run()
    assert driven.ids() == [1, 2]


def test_a_place_in_an_archive_of_many_is_found_by_a_few_looks() -> None:
    taken, looked = {"A.DAT", *(f"A.DAT.{number}" for number in range(1, 50_000))}, list[str]()

    def is_taken(name: str) -> bool:
        looked.append(name)
        return name in taken

    assert free_name("A.DAT", "archive", is_taken) == "A.DAT.50000"
    assert len(looked) < 40
    with pytest.raises(SourceUnavailable, match="holds 1000000 files"):
        free_name("A.DAT", "archive", lambda _name: True)


@pytest.mark.parametrize("done", [None, ".done"])
def test_a_file_whose_time_is_whole_seconds_has_to_stand_still_for_two(done: str | None) -> None:
    """Else what is written into it in the same second would be put away unread."""
    now = [0.0]
    pickup = Pickup({"articles": "A*"}, 0.0, done=done, clock=lambda: now[0])
    coarse, fine = Listed("A1", 1, 5_000_000_000), Listed("A0", 1, 5_000_000_001)
    files = [coarse, fine, *(Listed(f"{name}{done}", 0, 0) for name in ("A0", "A1") if done)]
    seen = []
    for now[0] in (0.0, 1.9, 2.0):
        seen.append([listed.name for listed in pickup.ready(files)])
    assert seen == [["A0"], ["A0"], ["A0", "A1"]]


def test_a_pipe_that_took_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "A1.DAT")
    assert b"".join(Folder(tmp_path).pieces("A1.DAT")) == b""
