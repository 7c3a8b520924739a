"""Messages without an id: a copy is dropped once, and a second message of the same content is not taken for one."""

from datetime import UTC, datetime

from bridge.inbox.incoming import Incoming
from bridge.sources.amqp.doubts import Doubts, digest, has_id

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
TICK = Incoming(b'{"id": 1}', NOW)
NAME = digest("s", TICK)


def begun(*, packed: int, settled: int = 0) -> Doubts:
    """What a new process knows after the last one journalled and acknowledged so many and died."""
    former = Doubts()
    former.begin({})
    former.packed([("s", TICK)] * (packed - settled) or [])
    for _ in range(settled):
        former.packed([("s", TICK)])
        former.settle([NAME])
    doubts = Doubts()
    doubts.begin(former.packed([]))
    return doubts


def test_a_copy_is_dropped_as_often_as_it_was_journalled_and_no_oftener() -> None:
    doubts = begun(packed=2)
    assert [doubts.is_copy(NAME) for _ in range(3)] == [True, True, False]


def test_what_was_acknowledged_is_not_expected_again() -> None:
    assert not begun(packed=1, settled=1).is_copy(NAME)


def test_a_new_message_ends_what_is_expected_of_its_stream_only() -> None:
    doubts = Doubts()
    doubts.begin({"doubtful": {NAME: 1, digest("other", TICK): 1}})
    doubts.end_copies("s")
    assert not doubts.is_copy(NAME)
    assert doubts.is_copy(digest("other", TICK))
    assert doubts.packed([]) == {"doubtful": {digest("other", TICK): 1}}


def test_a_new_connection_of_the_same_process_knows_more_than_the_journal() -> None:
    doubts = Doubts()
    doubts.begin({})
    kept = doubts.packed([("s", TICK)])
    doubts.settle([NAME])
    doubts.begin(kept)
    assert not doubts.is_copy(NAME)


def test_only_messages_without_an_id_are_kept() -> None:
    doubts = Doubts()
    doubts.begin({})
    named = Incoming(b"{}", NOW, id="1")
    assert has_id(named)
    assert doubts.packed([("s", named)]) == {}
