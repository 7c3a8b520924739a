"""The comparison behind the reckoning: it must find each kind of wrong that is planted, and nothing else."""

from collections.abc import Sequence
from dataclasses import replace

from demo.comparison import (
    Event,
    Facts,
    Letter,
    Polled,
    Reckoning,
    Stream,
    reckon,
    reckon_delivered,
    reckon_polled,
    replay,
)
from demo.oracle import Change

TABLE = "sales.oeordh"


def event(number: int, op: str, key: str, **facts: str) -> Event:
    return Event(f"orders:1:{number:X}:0", op, key, facts)


def committed(op: str, key: str, **facts: str) -> tuple[Change, Facts | None]:
    return Change(TABLE, op, key, facts or None), facts or None  # type: ignore[arg-type]  # literal in every caller


STREAM = Stream(
    table=TABLE,
    initial=[("A", {"amount": "1"})],
    changes=[
        committed("create", "B", amount="2"),
        committed("update", "B", amount="3"),
        committed("update", "B", amount="4"),
        committed("delete", "A"),
    ],
    events=[
        Event("orders:s1:A", "read", "A", {"amount": "1"}),
        event(1, "create", "B", amount="2"),
        event(2, "update", "B", amount="3"),
        event(3, "update", "B", amount="4"),
        event(4, "delete", "A"),
    ],
    letters=[],
    present=[("B", {"amount": "4"})],
)


def reckoned(*, events: Sequence[Event] | None = None, letters: Sequence[Letter] = ()) -> Reckoning:
    return reckon([replace(STREAM, events=STREAM.events if events is None else events, letters=letters)])


def test_a_faithful_bridge_is_clean() -> None:
    sums = reckoned()
    assert sums.is_clean()
    assert (sums.committed, sums.journalled, sums.read, sums.findings) == (4, 4, 1, [])


def test_a_lost_change_in_the_middle_is_found() -> None:
    """The final state is right all the same: only the comparison change by change sees it."""
    sums = reckoned(events=[each for each in STREAM.events if each.facts.get("amount") != "3"])
    assert (sums.lost, sums.doubled, sums.differing) == (1, 0, 0)
    assert not sums.is_clean()


def test_a_lost_delete_is_found_by_both_comparisons() -> None:
    sums = reckoned(events=STREAM.events[:-1])
    assert (sums.lost, sums.differing) == (1, 1)


def test_a_repeated_event_id_is_a_double() -> None:
    sums = reckoned(events=[*STREAM.events, STREAM.events[-1]])
    assert (sums.lost, sums.doubled, sums.inverted) == (0, 1, 0)


def test_a_row_read_twice_under_one_id_is_a_double() -> None:
    """Read events are not counted against changes, so only their ids tell."""
    sums = reckoned(events=[STREAM.events[0], *STREAM.events])
    assert (sums.doubled, sums.unaccounted) == (1, 0)


def test_the_same_change_under_another_id_is_a_double() -> None:
    sums = reckoned(events=[*STREAM.events[:4], event(9, "update", "B", amount="4"), STREAM.events[4]])
    assert (sums.lost, sums.doubled) == (0, 1)


def test_two_changes_of_a_key_the_wrong_way_round_are_found() -> None:
    read, create, third, fourth, delete = STREAM.events
    sums = reckoned(events=[read, create, fourth, third, delete])
    assert (sums.lost, sums.doubled, sums.inverted) == (0, 0, 1)
    assert not sums.is_clean()


def test_changes_of_different_keys_may_pass_each_other() -> None:
    read, create, third, fourth, delete = STREAM.events
    assert reckoned(events=[read, delete, create, third, fourth]).is_clean()


def test_a_wrong_value_is_differing_not_lost() -> None:
    wrong = [
        replace(each, facts={"amount": "33"}) if each.facts.get("amount") == "3" else each for each in STREAM.events
    ]
    sums = reckoned(events=wrong)
    assert (sums.lost, sums.differing, sums.unaccounted) == (0, 1, 0)


def test_an_event_that_nobody_committed_is_unaccounted() -> None:
    sums = reckoned(events=[*STREAM.events, event(9, "create", "Z", amount="1"), event(10, "delete", "Z")])
    assert (sums.lost, sums.unaccounted) == (0, 2)
    assert not sums.is_clean()
    assert sums.is_clean(complete=False)  # an oracle whose writer was killed may not know of it


def test_a_dead_letter_accounts_for_its_change_and_for_no_other() -> None:
    events = [each for each in STREAM.events if each.facts.get("amount") != "3"]
    own, other = (Letter(f"orders:1:2:{number}", key) for number, key in enumerate("BA"))
    assert (reckoned(events=events, letters=[own]).dead_lettered, reckoned(events=events, letters=[own]).lost) == (1, 0)
    assert (reckoned(events=events, letters=[other]).lost, reckoned(events=events, letters=[other]).doubled) == (1, 1)


def test_a_letter_beside_the_event_of_the_same_change_is_a_double() -> None:
    assert reckoned(letters=[Letter("orders:1:2:0", "B")]).doubled == 1
    assert reckoned(letters=[Letter("orders:1:77:0", "B")]).doubled == 1


def test_a_row_from_before_that_was_never_read_is_lost() -> None:
    stream = replace(STREAM, initial=[*STREAM.initial, ("C", {"amount": "7"})], present=None)
    assert reckon([stream]).lost == 1
    rejected = replace(stream, letters=[Letter("orders:s1:C", "C", is_read=True)])
    assert reckon([rejected]).is_clean()


def test_a_row_read_with_a_value_it_never_had_is_found() -> None:
    events = [Event("orders:s1:A", "read", "A", {"amount": "9"}), *STREAM.events[1:]]
    assert reckoned(events=events).differing == 1


def test_an_old_row_read_after_its_change_is_found_in_the_final_state() -> None:
    stale = Event("orders:s2:B", "read", "B", {"amount": "2"})
    assert reckoned(events=[*STREAM.events, stale]).differing == 1


def test_a_row_without_a_contract_value_needs_a_letter() -> None:
    stream = replace(STREAM, initial=[*STREAM.initial, ("C", None)], present=[*(STREAM.present or ()), ("C", None)])
    assert not reckon([stream]).is_clean()
    assert reckon([replace(stream, letters=[Letter("orders:s1:C", "C", is_read=True)])]).is_clean()


def test_an_unchanged_long_field_keeps_its_value_in_the_replay() -> None:
    events = [event(1, "create", "B", amount="2", note="long"), event(2, "update", "B", amount="3")]
    kept = [events[0], replace(events[1], unchanged=frozenset({"note"}))]
    assert replay(kept) == {"B": {"amount": "3", "note": "long"}}
    assert replay(events) == {"B": {"amount": "3"}}


def test_a_key_change_takes_an_unchanged_long_field_along() -> None:
    deleted = Event("orders:1:2:0d", "delete", "B", {}, counterpart="orders:1:2:0c")
    unchanged = frozenset({"note"})
    created = Event("orders:1:2:0c", "create", "C", {"amount": "2"}, unchanged, "orders:1:2:0d")
    events = [event(1, "create", "B", amount="2", note="long"), deleted, created]
    changes = [
        committed("create", "B", amount="2", note="long"),
        (Change(TABLE, "delete", "B", None, moved=True), None),
        (Change(TABLE, "create", "C", {}, moved=True), {"amount": "2", "note": "long"}),
    ]
    present = [("C", {"amount": "2", "note": "long"})]
    stream = Stream(TABLE, [], changes, events, [], present, unchanged)
    assert reckon([stream]).is_clean()
    assert reckon([replace(stream, events=[*events[:2], replace(created, unchanged=frozenset())])]).differing == 1


def test_rows_of_a_keyless_table_are_counted() -> None:
    inserted = [(Change("sales.aptrx", "create", "", {}), {"amount": "5"})] * 2
    events = [
        Event("payables:1:1:0", "create", "", {"amount": "5"}),
        Event("payables:1:2:0", "create", "", {"amount": "5"}),
    ]
    stream = Stream("sales.aptrx", [("", {"amount": "1"})], inserted, events, [])
    assert (reckon([stream]).is_clean(), reckon([stream]).unread) == (True, 1)
    assert reckon([replace(stream, events=events[:1])]).lost == 1


def test_a_row_of_a_keyless_table_missing_from_a_read_is_lost() -> None:
    initial = [("", {"amount": "1"}), ("", {"amount": "1"})]
    read = Event("payables:s1:1", "read", "", {"amount": "1"})
    stream = Stream("sales.aptrx", initial, [], [read, replace(read, id="payables:s1:2")], [])
    assert reckon([stream]).is_clean()
    assert reckon([replace(stream, events=[read])]).lost == 1


def test_a_polled_stream_is_held_to_where_each_row_ended() -> None:
    def told(*events: tuple[str, str, str], rejected: frozenset[str] = frozenset()) -> tuple[int, int]:
        found = [Event(str(number), op, key, {"name": name}) for number, (op, key, name) in enumerate(events)]
        present: dict[str, Facts | None] = {"1": {"name": "a"}, "2": {"name": "b"}}
        sums = reckon_polled(Polled("customers", found, rejected, present))
        return sums.lost, sums.doubled

    good = [("read", "1", "x"), ("create", "2", "b"), ("update", "1", "a"), ("create", "3", "c"), ("delete", "3", "")]
    assert told(*good) == (0, 0)
    assert told(*good[:2], *good[3:]) == (1, 0), "an update that was not told"
    assert told(*good[:4]) == (1, 0), "a delete that was not told"
    assert told(*good, ("create", "2", "b")) == (0, 1), "a row that was told twice"
    assert told(*good[:1], *good[2:]) == (1, 0), "a row that was not told"
    assert told(*good[:1], *good[2:], rejected=frozenset("2")) == (0, 0), "but became a dead letter"


def test_a_record_of_a_file_is_told_once_as_an_event_or_a_letter() -> None:
    written: list[tuple[str, Facts | None]] = [("1", {"quantity": "5"}), ("2", None)]  # the second cannot be read
    changes = [(Change("goods", "create", key, None), facts) for key, facts in written]
    good = Event("goods:1:1:0", "create", "1", {"quantity": "5"})
    stream = Stream("goods", [], changes, [good], [Letter("goods:1:1:1", "2")])
    sums = reckon_delivered(stream)
    assert sums.is_clean()
    assert (sums.committed, sums.delivered, sums.dead_lettered) == (2, 1, 1)
    assert reckon_delivered(replace(stream, events=[])).lost == 1
    assert reckon_delivered(replace(stream, letters=[])).lost == 1
    assert reckon_delivered(replace(stream, events=[good, replace(good, id="goods:1:2:0")])).doubled == 1
    assert reckon_delivered(replace(stream, events=[replace(good, facts={"quantity": "6"})])).differing == 1
    guess = Event("goods:1:1:1", "create", "2", {"quantity": "0"})
    assert not reckon_delivered(replace(stream, events=[good, guess], letters=[])).is_clean()
