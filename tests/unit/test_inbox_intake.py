"""Messages on their way into the journal: one answer each, after the commit, and one event an id."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bridge.errors import JournalUnavailable
from bridge.inbox.incoming import InboxClosed, InboxFull, Incoming
from bridge.inbox.intake import Intake
from bridge.inbox.mapping import Mapper
from bridge.model import Position, Window
from tests import shelf

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


class Desk:
    """An intake, and a journal that remembers ids."""

    def __init__(self, **rest: Any) -> None:  # noqa: ANN401  of Intake
        self.held: set[str] = set()
        mappers = {name: Mapper.of(name, f"shop/{name}", shelf.contract()) for name in ("item", "other")}
        self.intake = Intake(
            mappers, known=lambda ids: self.held & set(ids), remember=timedelta(hours=1), now=lambda: NOW, **rest
        )
        self.intake.open(None)

    def pack(self, *, is_busy: Callable[[], bool] = lambda: False) -> Window | None:
        return self.intake.pack(0, is_busy=is_busy)

    def commit(self, window: Window | None) -> None:
        assert window is not None
        self.held |= set(window.received)
        self.intake.confirm(window.position)


def message(number: int, *, of: str | None = None) -> Incoming:
    return Incoming(json.dumps({"id": number, "amount": 1}).encode(), NOW, "application/json", id=of)


def ids(window: Window | None) -> list[int]:
    assert window is not None
    return [number for batch in window.batches for number in batch.columns.column("id").to_pylist()]


def test_a_message_is_answered_after_the_commit_and_not_before() -> None:
    desk = Desk()
    future = desk.intake.submit("item", message(1, of="a"))
    window = desk.pack()
    assert not future.done()
    desk.commit(window)
    assert future.result(0) == "new"


def test_one_window_takes_what_waits_of_every_stream_and_counts_on() -> None:
    desk = Desk()
    desk.intake.open(Position(1, (40,)))
    for number, stream in enumerate(("item", "other", "item")):
        desk.intake.submit(stream, message(number, of=str(number)))
    window = desk.pack()
    assert window is not None
    assert [(batch.stream, batch.row_count) for batch in window.batches] == [("item", 2), ("other", 1)]
    assert window.position == Position(1, (43,))
    assert [at for batch in window.batches for at in batch.changes.column("_position").to_pylist()] == [41, 42, 43]
    assert set(window.received) == {"item:0", "item:2", "other:1"}
    assert window.received_until == NOW + timedelta(hours=1)


def test_of_two_copies_one_is_taken_wherever_the_first_is() -> None:
    desk = Desk()
    first, beside = (desk.intake.submit("item", message(1, of="a")) for _ in range(2))
    window = desk.pack()
    assert ids(window) == [1]
    in_flight = desk.intake.submit("item", message(1, of="a"))
    assert desk.pack() is None
    assert not in_flight.done(), "the first is not journalled yet"
    desk.commit(window)
    assert [future.result(0) for future in (first, beside, in_flight)] == ["new", "known", "known"]
    journalled = desk.intake.submit("item", message(1, of="a"))
    assert desk.pack() is None
    assert journalled.result(0) == "known"


def test_the_same_id_on_another_stream_is_another_message_and_none_is_no_id() -> None:
    desk = Desk()
    for stream, of in (("item", "a"), ("other", "a"), ("item", None), ("item", None)):
        desk.intake.submit(stream, message(1, of=of))
    assert ids(desk.pack()) == [1, 1, 1, 1]


def test_a_batch_with_a_known_part_brings_the_rest() -> None:
    desk = Desk()
    events = [{"specversion": "1.0", "id": str(n), "source": "s", "type": "t", "data": {"id": n}} for n in (1, 2, 2)]
    desk.held.add("item:s 1")
    body = json.dumps(events).encode()
    future = desk.intake.submit("item", Incoming(body, NOW, "application/cloudevents-batch+json"))
    window = desk.pack()
    assert ids(window) == [2]
    desk.commit(window)
    assert future.result(0) == "new"


def test_what_was_never_journalled_is_answered_with_a_failure() -> None:
    desk = Desk()
    packed, waiting = desk.intake.submit("item", message(1, of="a")), None
    desk.pack()
    waiting = desk.intake.submit("item", message(2, of="b"))
    desk.intake.close()
    assert isinstance(waiting.exception(0), InboxClosed)
    assert not packed.done(), "the journal may still take it"
    with pytest.raises(InboxClosed):
        desk.intake.submit("item", message(3))
    desk.intake.abandon()
    assert isinstance(packed.exception(0), InboxClosed)


def test_a_sender_that_gave_up_before_it_was_packed_is_not_taken() -> None:
    desk = Desk()
    gone, stays = (desk.intake.submit("item", message(number)) for number in (1, 2))
    assert gone.cancel()
    assert ids(desk.pack()) == [2]
    assert not stays.cancel(), "it may be journalled by now"


def test_senders_are_told_when_ids_cannot_be_looked_up() -> None:
    desk = Desk()

    def fail(_ids: object) -> set[str]:
        raise JournalUnavailable("disk full")

    desk.intake._known = fail
    future = desk.intake.submit("item", message(1, of="a"))
    with pytest.raises(JournalUnavailable):
        desk.pack()
    assert isinstance(future.exception(0), JournalUnavailable)


def test_what_waits_is_bounded_in_bytes_and_one_message_always_fits() -> None:
    desk = Desk(limit_bytes=3000)
    desk.intake.submit("item", Incoming(b"x" * 10_000, NOW))
    with pytest.raises(InboxFull):
        desk.intake.submit("item", message(1))
    desk.pack()
    desk.intake.submit("item", message(1))


def test_a_window_grows_while_nobody_waits_for_it() -> None:
    desk = Desk()
    desk.intake.submit("item", message(1))
    looks = iter([True, True, False])

    def is_busy() -> bool:
        desk.intake.submit("item", message(2))
        return next(looks)

    window = desk.intake.pack(10, is_busy=is_busy)
    assert ids(window) == [1, 2, 2, 2]
