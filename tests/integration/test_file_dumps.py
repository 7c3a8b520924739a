"""Files that hold the whole table each, compared one by one: the promises of docs/sources-file.md."""

import os
from pathlib import Path
from typing import Any

import pytest

from bridge.config.load import load
from bridge.contract import document
from bridge.errors import ConfigError, PositionLost, SourceRefused
from bridge.sources.file.configured import comparing
from bridge.sources.file.dumps import Comparing
from tests.files import CONTRACT, LENGTH, Driven, FileDaemon, content, put, record

MANY = 70_000  # rows of a file that is read in three pieces
BY_ID = Comparing(("id",))


def dump(amounts: dict[int, int]) -> bytes:
    """A file with these articles."""
    return b"".join(record(number, amount=amount) for number, amount in amounts.items())


def dumped(folder: Path, **settings: Any) -> Driven:  # noqa: ANN401  keys of Settings
    return Driven(folder, **{"compares": BY_ID, **settings})


@pytest.fixture
def driven(tmp_path: Path) -> Driven:
    return dumped(tmp_path)


def run(driven: Driven, name: str, data: bytes, *, at: int | None = None) -> list[tuple[str, int | None, int | None]]:
    """Take a file, and tell what came of it."""
    before = len(driven.told())
    path = put(driven.drop, name, data)
    if at is not None:
        os.utime(path, (at, at + 0.5))
    driven.run()
    return driven.told(after=before)


def held(driven: Driven) -> dict[int, int]:
    """The table as a reader of the events has it."""
    table: dict[int, int] = {}
    for op, number, amount in driven.told():
        assert number is not None
        if op == "d":
            del table[number]
        else:
            assert (number in table) == (op == "u")
            table[number] = amount or 0
    return table


def codes(driven: Driven) -> list[str]:
    return [finding.code for finding in driven.source.findings()]


def test_the_first_file_is_read_and_each_later_one_tells_what_changed(driven: Driven) -> None:
    assert run(driven, "A1.DAT", dump({1: 1, 2: 1, 3: 1})) == [("r", 1, 1), ("r", 2, 1), ("r", 3, 1)]
    assert run(driven, "A2.DAT", dump({3: 1, 2: 9, 4: 1})) == [("u", 2, 9), ("c", 4, 1), ("d", 1, None)]
    notes = driven.windows[-2].batches[0].changes.column("_note").to_pylist()
    assert notes == ['{"found_by": "compare"}']
    assert driven.archived() == ["A1.DAT", "A2.DAT"]
    assert [(each.state, dict(each.counts)) for each in driven.store.runs()] == [
        ("done", {"c": 1, "d": 1, "u": 1}),
        ("done", {"r": 3}),
    ]


def test_where_a_row_stands_makes_no_difference(driven: Driven) -> None:
    run(driven, "A1.DAT", dump({1: 1, 2: 1}))
    assert run(driven, "A2.DAT", dump({2: 1, 1: 1})) == []
    assert driven.archived() == ["A1.DAT", "A2.DAT"]


def test_a_table_may_become_what_it_was_before(driven: Driven) -> None:
    run(driven, "A1.DAT", dump({1: 1}))
    run(driven, "A2.DAT", dump({1: 2}))
    assert run(driven, "A3.DAT", dump({1: 1})) == [("u", 1, 1)]
    assert run(driven, "A4.DAT", dump({1: 1})) == []
    assert driven.outcomes == ["taken", "taken", "taken", "duplicate"]


def test_ids_are_made_of_the_file_and_never_come_twice(driven: Driven) -> None:
    for number in range(4):
        run(driven, f"A{number}.DAT", dump({1: number % 2, 2: number}))
    places = [
        (position, index)
        for window in driven.windows
        for batch in window.batches
        for position, index in zip(
            batch.changes.column("_position").to_pylist(), batch.changes.column("_tx_index").to_pylist(), strict=True
        )
    ]
    assert places == sorted(set(places))
    assert {position >> 40 for position, _ in places} == {1, 2, 3, 4}  # as where files are appended


@pytest.mark.parametrize("by_time", [False, True])
def test_an_outdated_file_that_comes_late_undoes_nothing(by_time: bool, tmp_path: Path) -> None:  # noqa: FBT001
    driven = dumped(tmp_path, by_time=by_time)
    run(driven, "A2.DAT", dump({1: 2, 2: 1}), at=2_000)
    assert run(driven, "A1.DAT", dump({1: 1}), at=1_000) == []
    assert (driven.outcomes, driven.names()) == (["taken", "refused"], ["A1.DAT"])
    assert "comes before A2.DAT" in driven.source.findings()[0].detail
    assert run(driven, "A3.DAT", dump({1: 3, 2: 1}), at=3_000) == [("u", 1, 3)]


def test_an_older_file_under_the_same_name_is_outdated_too(driven: Driven) -> None:
    run(driven, "A.DAT", dump({1: 1}), at=2_000)
    assert run(driven, "A.DAT", dump({1: 2}), at=1_000) == []
    os.utime(driven.drop / "A.DAT", (3_000, 3_000.5))
    driven.run()
    assert held(driven) == {1: 2}


def test_what_a_later_file_says_again_makes_those_before_it_outdated(driven: Driven) -> None:
    run(driven, "A1.DAT", dump({1: 1}))
    run(driven, "A3.DAT", dump({1: 1}))
    assert run(driven, "A2.DAT", dump({1: 2})) == []


def test_what_an_outdated_file_says_again_makes_no_other_one_new(driven: Driven) -> None:
    run(driven, "A3.DAT", dump({1: 1}))
    run(driven, "A1.DAT", dump({1: 1}))
    assert run(driven, "A2.DAT", dump({1: 2})) == []
    assert driven.outcomes == ["taken", "duplicate", "refused"]


def test_a_file_that_lacks_too_many_rows_fails_and_is_kept_for_a_person(driven: Driven) -> None:
    run(driven, "A1.DAT", dump(dict.fromkeys(range(300), 1)))
    assert run(driven, "A2.DAT", dump({**dict.fromkeys(range(100), 1), 5: 7})) == [("u", 5, 7)]
    assert (driven.names(), driven.archived()) == (["A2.DAT"], ["A1.DAT"])
    assert codes(driven) == ["file.refused"]
    assert "200 of 300 rows are gone" in driven.source.findings()[0].detail
    newest = driven.store.runs()[0]
    assert (newest.state, "A2.DAT" in newest.detail) == ("failed", True)
    assert run(driven, "A3.DAT", dump({**dict.fromkeys(range(250), 1), 5: 7})) == [
        ("d", number, None) for number in range(250, 300)
    ]


def test_a_file_that_failed_is_taken_where_a_person_allows_it(driven: Driven) -> None:
    run(driven, "A1.DAT", dump(dict.fromkeys(range(300), 1)))
    run(driven, "A2.DAT", dump({1: 1, 2: 5}))
    driven.compares = Comparing(("id",), most_deletes=1)
    driven.restart()
    driven.run()
    assert held(driven) == {1: 1, 2: 5}
    assert (driven.names(), codes(driven)) == ([], [])


def test_a_file_without_a_row_is_never_believed(tmp_path: Path) -> None:
    layout = "csv: {columns: [{name: id, type: integer}, {name: name}, {name: amount, type: integer}]}\n"
    driven = dumped(tmp_path, layout=layout)
    run(driven, "A1.DAT", b"id,name,amount\n1,a,1\n2,b,1\n")
    assert run(driven, "A2.DAT", b"id,name,amount\n") == []
    assert run(driven, "A3.DAT", b"") == []
    assert driven.names() == ["A2.DAT", "A3.DAT"]
    driven.compares = Comparing(("id",), most_deletes=1)
    driven.restart()
    driven.run()
    assert (held(driven), driven.names()) == ({}, ["A3.DAT"])


def test_a_key_whose_record_is_bad_is_not_taken_for_gone(driven: Driven) -> None:
    run(driven, "A1.DAT", dump({1: 1, 2: 1, 3: 1}))
    unreadable = b"\xff" * 5 + record(2)[5:]
    told = run(driven, "A2.DAT", record(1) + unreadable + record(4))
    assert [each for each in told if each[1] is not None] == [("c", 4, 1)]
    assert [each[0] for each in told if each[1] is None] == ["c"]  # the bad one, for the contract to reject
    assert codes(driven) == ["file.unreadable_keys"]
    assert run(driven, "A3.DAT", dump({1: 1, 2: 1, 4: 1})) == [("d", 3, None)]
    assert codes(driven) == []


def test_a_file_that_ends_inside_a_record_deletes_nothing(driven: Driven) -> None:
    run(driven, "A1.DAT", dump({1: 1, 2: 1, 3: 1}))
    told = run(driven, "A2.DAT", dump({1: 1, 2: 1})[: 2 * LENGTH - 3])
    assert [each[0] for each in told] == ["c"]
    assert run(driven, "A3.DAT", dump({1: 1, 2: 1})) == [("d", 3, None)]


def test_a_cell_that_is_bad_beside_a_good_key_keeps_no_delete_back(driven: Driven) -> None:
    run(driven, "A1.DAT", dump({1: 1, 2: 1, 3: 1}))
    bad = record(1)[:-4] + b"\xff" * 4
    assert run(driven, "A2.DAT", bad + record(2)) == [("u", 1, None), ("d", 3, None)]


def test_a_bad_record_is_told_once_and_another_one_anew(driven: Driven) -> None:
    def cut(text: str) -> bytes:
        return record(9, name=text)[:-6]

    run(driven, "A1.DAT", record(1) + cut("one"))
    assert run(driven, "A2.DAT", record(1, amount=2) + cut("one")) == [("u", 1, 2)]
    told = run(driven, "A3.DAT", record(1, amount=2) + cut("two"))
    assert [(op, number) for op, number, _ in told] == [("c", None)]


def test_of_rows_with_one_key_one_is_told_and_the_others_are_counted(driven: Driven) -> None:
    assert len(run(driven, "A1.DAT", record(1) + record(1, amount=2) + record(2))) == 2
    assert codes(driven) == ["file.double_keys"]
    assert run(driven, "A2.DAT", record(2) + record(1, amount=2) + record(1)) == []
    driven.restart()
    assert codes(driven) == ["file.double_keys"]
    assert "1 rows share a key" in driven.store.runs()[0].detail


def test_one_stream_cannot_append_what_another_compares(tmp_path: Path) -> None:
    driven = dumped(tmp_path, patterns={"articles": "A*.DAT", "others": "*.DAT"})
    assert run(driven, "A1.DAT", dump({1: 1})) == []
    assert "compares it and stream others appends it" in driven.source.findings()[0].detail


def test_a_file_is_gone_on_with_at_every_window(tmp_path: Path) -> None:
    before, after = dict.fromkeys(range(MANY), 1), dict.fromkeys(range(20_000, MANY + 20_000), 2)
    driven = dumped(tmp_path)
    for name, amounts in (("A1.DAT", before), ("A2.DAT", after)):
        put(driven.drop, name, dump(amounts))
        while (window := driven.window()) is not None:
            driven.restart()  # the window is lost with the process
            again = driven.window()
            assert again is not None
            assert (again.position, again.batches) == (window.position, window.batches)
            driven.journal(again)
            driven.restart()
    assert held(driven) == after
    assert len(driven.told()) == MANY + len(after) + 20_000
    assert driven.archived() == ["A1.DAT", "A2.DAT"]


def test_what_is_gone_is_looked_up_when_the_journal_holds_every_window_before(driven: Driven) -> None:
    run(driven, "A1.DAT", dump({1: 1, 2: 1}))
    put(driven.drop, "A2.DAT", dump({1: 2}))
    window = driven.window()
    assert window is not None
    assert driven.window() is None
    driven.journal(window)
    driven.run()
    assert held(driven) == {1: 2}
    positions = [each.position for each in driven.windows]
    assert positions == sorted(set(positions))  # else one would be confirmed with another


def test_what_was_bad_before_a_crash_still_keeps_deletes_back_after_it(driven: Driven) -> None:
    run(driven, "A0.DAT", dump(dict.fromkeys(range(MANY), 1)))
    put(driven.drop, "A1.DAT", b"\xff" * 5 + record(1)[5:] + dump(dict.fromkeys(range(10, MANY), 1)))
    while (window := driven.window()) is not None:
        driven.journal(window)
        driven.restart()
    assert [op for op, *_ in driven.told(after=MANY)] == ["c"]


def test_a_file_whose_content_is_gone_needs_no_gap(driven: Driven) -> None:
    run(driven, "A0.DAT", dump(dict.fromkeys(range(MANY), 1)))
    path = put(driven.drop, "A1.DAT", dump(dict.fromkeys(range(1, MANY), 2)))
    window = driven.window()
    assert window is not None
    driven.journal(window)
    path.unlink()
    for copy in driven.settings.spool.iterdir():
        copy.unlink()
    driven.restart()
    with pytest.raises(PositionLost) as lost:
        driven.run()
    driven.renew(lost.value)
    assert driven.windows[-1].batches == ()
    assert driven.store.runs()[0].state == "failed"
    run(driven, "A1.DAT", dump(dict.fromkeys(range(1, MANY), 2)))
    assert held(driven) == dict.fromkeys(range(1, MANY), 2)


def test_a_file_that_was_begun_in_another_mode_is_not_gone_on_with(tmp_path: Path) -> None:
    driven = Driven(tmp_path)
    put(driven.drop, "A1.DAT", dump(dict.fromkeys(range(MANY), 1)))
    window = driven.window()
    assert window is not None
    driven.journal(window)
    driven.compares = BY_ID
    driven.restart()
    with pytest.raises(SourceRefused, match="under another `mode` or key"):
        driven.run()


def test_no_more_than_a_piece_is_held_at_once(driven: Driven) -> None:
    run(driven, "A1.DAT", dump(dict.fromkeys(range(MANY), 1)))
    run(driven, "A2.DAT", content([1]))
    assert max(batch.row_count for window in driven.windows for batch in window.batches) < MANY / 2


NO_KEY = (
    CONTRACT.replace(", primaryKey: true, primaryKeyPosition: 1", "")
    .replace(
        "logicalType: integer}", "logicalType: integer, customProperties: [{property: bridge.unit, value: none}]}", 1
    )
    .replace(
        "    logicalType: object",
        "    logicalType: object\n    customProperties: [{property: bridge.key, value: none}]",
    )
)
BY_NUMBER = CONTRACT.replace("{name: id,", "{name: id, transformLogic: '\"$number\"',")


def test_a_table_is_compared_by_a_key_that_stands_in_its_records(tmp_path: Path) -> None:
    daemon = FileDaemon(tmp_path)
    daemon.document["streams"]["articles"] |= {"mode": "full", "most_deletes": 0.25}
    daemon.write()
    declared = load(daemon.path).streams["articles"]
    made = {}
    for name, text in (("good", CONTRACT), ("none", NO_KEY), ("place", BY_NUMBER)):
        (tmp_path / f"{name}.yaml").write_text(text)
        made[name] = document.load(tmp_path / f"{name}.yaml")
    assert comparing(declared, made["good"]) == Comparing(("id",), 0.25)
    with pytest.raises(ConfigError, match="it has no key"):
        comparing(declared, made["none"])
    with pytest.raises(ConfigError, match=r"its key reads \$number"):
        comparing(declared, made["place"])
