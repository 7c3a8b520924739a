"""The delivery loop on in-memory twins: order, failures, dead letters, breakers, progress, replays, switches."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bridge.deliver.feed import Feed
from bridge.errors import BridgeError, JournalUnavailable, SinkGone, SinkRefused, SinkUnavailable
from bridge.model import Block, LetterState
from bridge.parcel import Delivered, Form, Message, Progress
from bridge.testing import MemoryJournal, ScriptedSink
from tests import journal_samples as sample
from tests.daemon import wait_for
from tests.deliveries import Running, data, delivering, filled, look, numbers, progress, route, same_key

QUICK = {"after_s": [0.01, 0.01]}
SLOW = {"after_s": [3600]}


def failing(*numbers: int, error: type[BridgeError] = SinkUnavailable) -> Callable[[Message], BridgeError | None]:
    """A receiver that does not take these events."""
    return lambda message: error("HTTP 500") if message.number in numbers else None


def tries(journal: MemoryJournal) -> dict[str, list[float]]:
    """The attempts that a restart would go on from, by sequence number."""
    found: dict[str, list[float]] = journal.kept("delivery").get("crm", {}).get("tries", {}).get("orders", {})
    return found


def waiting(running: Running, sink: str = "crm") -> int:
    """Events that wait behind failures."""
    loop = running.delivery.loops.get(sink)
    return sum(feed.lanes.waiting_count for feed in loop.feeds.values()) if loop else 0


def test_what_is_there_and_what_comes_arrives_in_order() -> None:
    journal, sink = filled(sample.events(count=20)), ScriptedSink()
    with delivering(journal, (route(concurrency=1), sink)) as running:
        wait_for(lambda: len(sink.received) == 20)
        journal.append(sample.commit(sample.events(count=5, start=20), at=9))
        running.bell.ring()
        wait_for(lambda: len(sink.received) == 25)
    assert numbers(sink.received) == list(range(1, 26))
    assert progress(journal) == Progress(25)
    assert data(sink.received[0][1].text)["order_no"] == "N0"
    assert sink.closed


def test_events_of_one_key_are_never_under_way_together() -> None:
    journal, sink = filled(same_key(30)), ScriptedSink()
    with delivering(journal, (route(concurrency=8), sink)):
        wait_for(lambda: len(sink.received) == 30)
    assert numbers(sink.received) == list(range(1, 31))
    assert sink.overlapped == []


def test_different_keys_go_side_by_side() -> None:
    journal, sink = filled(sample.events(count=20)), ScriptedSink()
    sink.gate.clear()
    with delivering(journal, (route(concurrency=8), sink)) as running:
        wait_for(lambda: len(sink.under_way) == 8)
        assert sink.received == []
        running.call(sink.gate.set)
        wait_for(lambda: len(sink.received) == 20)


def test_a_failing_event_holds_its_key_and_no_other() -> None:
    journal, sink = filled(sample.events(count=10), same_key(3)), ScriptedSink(judge=failing(1))
    with delivering(journal, (route(retry=SLOW), sink)):
        wait_for(lambda: len(sink.received) == 9)
        wait_for(lambda: progress(journal).cursor == 13)
        assert numbers(sink.received, "N0") == [], "11 to 13 are of the key of 1"
        assert progress(journal).pending == ((1, 1), (11, 13))


def test_a_failing_event_goes_first_when_it_succeeds_and_its_key_follows() -> None:
    left = [3]

    def judge(message: Message) -> BridgeError | None:
        if message.number != 1 or not left[0]:
            return None
        left[0] -= 1
        return SinkUnavailable("HTTP 503")

    journal, sink = filled(same_key(4)), ScriptedSink(judge=judge)
    with delivering(journal, (route(retry={"after_s": [0.01] * 5}), sink)):
        wait_for(lambda: len(sink.received) == 4 and progress(journal) == Progress(4))
    assert numbers(sink.received) == [1, 2, 3, 4]
    assert progress(journal) == Progress(4)


def test_an_event_that_is_never_taken_becomes_a_dead_letter_and_frees_its_key() -> None:
    journal, sink = filled(sample.events(count=3), same_key(2)), ScriptedSink(judge=failing(1))
    with delivering(journal, (route(retry=QUICK), sink)) as running:
        wait_for(lambda: len(sink.received) == 4)
        wait_for(lambda: journal.undelivered_counts() == {"crm": 1})
    (letter,) = journal.undelivered()
    assert (letter.number, letter.key, letter.attempts) == (1, "N0", 3)
    assert letter.cause == "sink.unavailable: HTTP 500"
    assert numbers(sink.received, "N0") == [4, 5]
    assert progress(journal) == Progress(5)
    assert [attempt.try_number for attempt in running.log.attempts if attempt.number == 1] == [1, 2, 3]


def test_a_refused_event_is_set_aside_sooner() -> None:
    journal, sink = filled(sample.events(count=1)), ScriptedSink(judge=failing(1, error=SinkRefused))
    keys = {"after_s": [0.01] * 50, "refused_attempts": 2}
    with delivering(journal, (route(retry=keys), sink)):
        wait_for(lambda: journal.undelivered_counts() == {"crm": 1})
    assert journal.undelivered()[0].attempts == 2


def test_an_operator_may_want_events_tried_for_ever() -> None:
    journal, sink = filled(sample.events(count=1)), ScriptedSink(judge=failing(1))
    forced = {"force": "closed"}
    journal.keep("sink", {"crm": forced})
    with delivering(journal, (route(retry={**QUICK, "then": "hold"}), sink)):
        wait_for(lambda: len(sink.parcels) > 6)
        sink.judge = failing()
        wait_for(lambda: numbers(sink.received) == [1])
    assert journal.undelivered_counts() == {}


def test_a_parcel_that_fails_is_halved_until_the_one_at_fault_is_alone() -> None:
    journal = filled(sample.events(count=16))
    sink = ScriptedSink(judge=failing(5, error=SinkRefused), is_atomic=True)
    keys: dict[str, Any] = {"batch": {"events": 16}, "concurrency": 1, "retry": {**QUICK, "refused_attempts": 1}}
    journal.keep("sink", {"crm": {"force": "closed"}})
    with delivering(journal, (route(**keys), sink)):
        wait_for(lambda: journal.undelivered_counts() == {"crm": 1})
        wait_for(lambda: len(sink.received) == 15)
    assert journal.undelivered()[0].number == 5
    assert 5 not in numbers(sink.received)


def test_failures_within_a_parcel_concern_only_themselves() -> None:
    journal, sink = filled(sample.events(count=10)), ScriptedSink(judge=failing(3, 4))
    with delivering(journal, (route(batch={"events": 10}, retry=SLOW), sink)):
        wait_for(lambda: len(sink.received) == 8)
        wait_for(lambda: progress(journal) == Progress(10, ((3, 4),)))


def test_a_receiver_that_fails_is_left_alone_and_no_event_is_given_up() -> None:
    journal = filled(sample.events(count=50))
    sink = ScriptedSink(judge=lambda _message: SinkUnavailable("connect refused"))
    breaker = {"minimum_calls": 5, "pause_s": 0.05, "longest_pause_s": 0.05}
    with delivering(journal, (route(retry=QUICK, breaker=breaker, concurrency=2), sink)) as running:
        wait_for(lambda: any(one.component == "sink:crm" for one in running.board.ailments()))
        wait_for(lambda: len(sink.parcels) > 15)
        assert journal.undelivered_counts() == {}, "trials of an open breaker use up nobody's attempts"
        told = "the breaker is open: a trial failed too: connect refused"
        wait_for(lambda: [one.what for one in running.board.ailments()] == [told])
        sink.judge = failing()
        wait_for(lambda: len(sink.received) == 50)
    assert progress(journal) == Progress(50)
    assert running.metrics.points.within("sink:crm", 60)[1] >= 15


def test_a_breaker_stays_open_over_a_restart() -> None:
    journal = filled(sample.events(count=20))
    sink = ScriptedSink(judge=lambda _message: SinkUnavailable("connect refused"))
    rules = {"minimum_calls": 3, "pause_s": 3600, "longest_pause_s": 3600}
    with delivering(journal, (route(breaker=rules, retry=QUICK), sink)):
        wait_for(lambda: journal.kept("delivery").get("crm", {}).get("breaker", {}).get("state") == "open")
    again = ScriptedSink()
    with delivering(journal, (route(breaker=rules), again)) as running:
        wait_for(lambda: any("breaker is open" in one.what for one in running.board.ailments()))
        assert again.parcels == []
        breaker = "bridge_breaker_state", {"sink": "crm"}
        assert running.metrics.registry.get_sample_value(*breaker) == 2
        journal.keep("sink", {"crm": {"force": "closed"}})
        wait_for(lambda: len(again.received) == 20)
        wait_for(lambda: running.metrics.registry.get_sample_value(*breaker) == 0)
    attempts = {"endpoint": "crm", "outcome": "delivered"}
    assert running.metrics.registry.get_sample_value("bridge_webhook_attempts_total", attempts) == 20


def test_a_receiver_says_when_it_wants_to_be_asked_again() -> None:
    judged: list[int] = []

    def judge(message: Message) -> BridgeError | None:
        judged.append(message.number)
        return SinkUnavailable("HTTP 429", retry_after_s=3600) if message.number == 1 else None

    journal, sink = filled(sample.events(count=1)), ScriptedSink(judge=judge)
    with delivering(journal, (route(retry=QUICK, concurrency=1), sink)) as running:
        wait_for(lambda: judged == [1])
        wait_for(lambda: progress(journal).pending == ((1, 1),))
        journal.append(sample.commit(sample.events(count=3, start=1), at=9))
        running.bell.ring()
        wait_for(lambda: running.delivery.loops["crm"].feeds["orders"].taken == 4)
    assert judged == [1]


def test_a_receiver_that_is_gone_is_sent_nothing_until_an_operator_resumes_it() -> None:
    journal = filled(sample.events(count=5))
    sink = ScriptedSink(judge=failing(2, error=SinkGone))
    with delivering(journal, (route(concurrency=1), sink)) as running:
        wait_for(lambda: journal.kept("delivery")["crm"]["gone"] if journal.kept("delivery") else None)
        wait_for(lambda: any("gone" in one.what for one in running.board.ailments()))
    again = ScriptedSink()
    with delivering(journal, (route(concurrency=1), again)) as running:
        wait_for(lambda: any("gone" in one.what for one in running.board.ailments()))
        assert again.parcels == []
        later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        journal.keep("sink", {"crm": {"resumed_at": later}})
        wait_for(lambda: numbers(again.received) == [2, 3, 4, 5])


def test_a_paused_sink_is_sent_nothing() -> None:
    journal, sink = filled(sample.events(count=5)), ScriptedSink()
    journal.keep("sink", {"crm": {"paused": True, "why": "paused by ann"}})
    with delivering(journal, (route(), sink)) as running:
        wait_for(lambda: any(one.what == "paused by ann" for one in running.board.ailments()))
        assert sink.parcels == []
        journal.keep("sink", {"crm": {"paused": False}})
        wait_for(lambda: len(sink.received) == 5)


def test_a_dead_sink_costs_another_nothing() -> None:
    journal = filled(sample.events(count=50))
    dead, live = ScriptedSink("dead"), ScriptedSink("live")
    dead.gate.clear()
    with delivering(journal, (route("dead"), dead), (route("live"), live)) as running:
        wait_for(lambda: len(live.received) == 50)
        assert dead.received == []
        running.call(dead.gate.set)
        wait_for(lambda: len(dead.received) == 50)


def test_a_new_sink_may_begin_with_what_comes_now() -> None:
    journal, sink = filled(sample.events(count=5)), ScriptedSink()
    with delivering(journal, (route(start="now"), sink)) as running:
        wait_for(lambda: "crm" in journal.subscribers())
        journal.append(sample.commit(sample.events(count=1, start=5), at=9))
        running.bell.ring()
        wait_for(lambda: numbers(sink.received) == [6])


def test_attempts_and_pending_events_survive_a_restart() -> None:
    journal, sink = filled(same_key(4)), ScriptedSink(judge=failing(1))
    with delivering(journal, (route(retry={"after_s": [0.01, 3600]}), sink)):
        wait_for(
            lambda: journal.kept("delivery").get("crm", {}).get("tries", {}).get("orders", {}).get("1", [0])[0] == 2
        )
        wait_for(lambda: progress(journal) == Progress(4, ((1, 4),)))
    again = ScriptedSink()
    with delivering(journal, (route(retry={"after_s": [0.01, 3600]}), again)) as running:
        wait_for(lambda: waiting(running) == 4)
        assert again.parcels == [], "its third attempt is due in an hour, and its key waits"


def test_progress_that_cannot_be_stored_is_stored_later(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, sink = filled(sample.events(count=5)), ScriptedSink(judge=failing(2))
    record, failures = journal.record, [3]

    def failing_record(delivered: list[Delivered]) -> None:
        if any(one.undelivered for one in delivered) and failures[0]:
            failures[0] -= 1
            raise JournalUnavailable("disk full")
        record(delivered)

    monkeypatch.setattr(journal, "record", failing_record)
    with delivering(journal, (route(retry={"after_s": []}), sink)):
        wait_for(lambda: journal.undelivered_counts() == {"crm": 1})
        wait_for(lambda: progress(journal) == Progress(5))
    assert failures == [0]


def test_what_is_delivered_and_not_stored_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, sink = filled(sample.events(count=2_000)), ScriptedSink()
    stuck = threading.Event()
    record = journal.record

    def wait_then_record(delivered: list[Delivered]) -> None:
        assert "crm" not in journal.subscribers() or stuck.wait(20)  # but for where it begins
        record(delivered)

    monkeypatch.setattr(journal, "record", wait_then_record)
    with delivering(journal, (route(concurrency=1), sink)):
        wait_for(lambda: bool(sink.received))
        seen = -1
        while seen != len(sink.received):
            seen = len(sink.received)
            threading.Event().wait(0.2)
        assert seen < 2_000, "a crash now would send no more than this again"
        stuck.set()
        wait_for(lambda: len(sink.received) == 2_000)


def test_columns_are_taken_a_parcel_at_a_time_and_from_where_the_receiver_stands() -> None:
    journal = filled(sample.events(count=10), sample.events(count=10, start=10))
    sink = ScriptedSink(wants="columns", is_atomic=True)
    sink.stands = {"orders": 4}
    keys: dict[str, Any] = {"batch": {"events": 8}, "concurrency": 1}
    with delivering(journal, (route(form="columns", **keys), sink)):
        wait_for(lambda: len(sink.rows) == 16)
    assert [number for _, number in sink.rows] == list(range(5, 21))
    assert sink.parcels == [8, 8]
    assert progress(journal) == Progress(20)


def test_columns_that_could_not_be_written_are_written_whole_later() -> None:
    journal = filled(sample.events(count=8))
    sink = ScriptedSink(wants="columns", is_atomic=True)
    sink.fails = [SinkUnavailable("disk full"), SinkUnavailable("disk full")]
    keys: dict[str, Any] = {"batch": {"events": 4}, "concurrency": 1, "retry": {"after_s": [0.01] * 3}}
    with delivering(journal, (route(form="columns", **keys), sink)):
        wait_for(lambda: progress(journal) == Progress(8))
    assert [number for _, number in sink.rows] == list(range(1, 9))


def test_lines_go_out_in_one_piece_and_again_until_they_are_taken() -> None:
    """What fails is the receiver and no event: none is set aside."""
    journal, sink = filled(sample.events(count=10)), ScriptedSink(wants="lines", is_atomic=True)
    sink.fails = [SinkUnavailable("nobody reads")] * 3
    keys: dict[str, Any] = {"batch": {"events": 8}, "retry": {"after_s": [0.01]}}
    with delivering(journal, (route(form="lines", **keys), sink)):
        wait_for(lambda: progress(journal) == Progress(10))
    assert sink.parcels == [8, 8, 8, 8, 2]
    assert [json.loads(line)["data"]["order_no"] for line in sink.text.splitlines()] == [f"N{row}" for row in range(10)]
    assert journal.undelivered_counts() == {}


@pytest.mark.parametrize("form", ["lines", "columns"])
def test_while_one_parcel_goes_out_the_next_is_read_and_no_third(form: Form) -> None:
    journal, sink = filled(sample.events(count=40_000)), ScriptedSink(wants=form, is_atomic=True)
    sink.gate.clear()
    with delivering(journal, (route(form=form, memory_megabytes=1, batch={"events": 30_000}), sink)) as running:
        wait_for(lambda: running.delivery.loops and sink.parcels)
        lanes = running.delivery.loops["crm"].feeds["orders"].lanes
        wait_for(lambda: lanes.ready_count == 1)
        assert (lanes.flight_count, lanes.bytes <= 1 << 20) == (1, True)
        running.call(sink.gate.set)
        wait_for(lambda: progress(journal) == Progress(40_000))
    assert [number for _, number in sink.rows] == list(range(1, 40_001))


def test_what_is_written_and_not_stored_is_bounded_by_events(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, sink = filled(sample.events(count=2_000)), ScriptedSink(wants="columns", is_atomic=True)
    stuck, record = threading.Event(), journal.record

    def wait_then_record(delivered: list[Delivered]) -> None:
        assert "crm" not in journal.subscribers() or stuck.wait(20)  # but for where it begins
        record(delivered)

    monkeypatch.setattr(journal, "record", wait_then_record)
    with delivering(journal, (route(form="columns", batch={"events": 100}), sink)):
        wait_for(lambda: bool(sink.rows))
        seen = -1
        while seen != len(sink.rows):
            seen = len(sink.rows)
            threading.Event().wait(0.2)
        assert seen < 2_000, "a crash now would send no more than this again"
        stuck.set()
        wait_for(lambda: len(sink.rows) == 2_000)


def test_what_a_block_holds_beyond_a_parcel_is_not_decoded_again() -> None:
    journal, sink = filled(sample.events(count=100)), ScriptedSink(wants="columns", is_atomic=True)
    reads: list[int] = []

    def read(stream: str, *, after: int = 0, limit: int | None = None) -> Iterator[Block]:
        reads.append(after)
        return MemoryJournal.read(journal, stream, after=after, limit=limit)

    journal.read = read  # type: ignore[method-assign]
    with delivering(journal, (route(form="columns", batch={"events": 30}, concurrency=1), sink)):
        wait_for(lambda: progress(journal) == Progress(100))
    assert [number for _, number in sink.rows] == list(range(1, 101))
    assert sink.parcels == [30, 30, 30, 10]
    assert set(reads) == {0, 100}


def test_a_parcel_waits_for_others_for_as_long_as_it_may() -> None:
    journal, sink = filled(sample.events(count=3)), ScriptedSink(wants="columns", is_atomic=True)
    keys: dict[str, Any] = {"batch": {"events": 8, "seconds": 3600}, "concurrency": 1}
    with delivering(journal, (route(form="columns", **keys), sink)) as running:
        wait_for(lambda: "crm" in journal.subscribers())
        journal.append(sample.commit(sample.events(count=9, start=3), at=9))
        running.bell.ring()
        wait_for(lambda: sink.parcels == [8])
    assert sink.parcels == [8], "the other four wait for more"


def test_a_range_is_replayed_with_the_same_ids() -> None:
    journal, sink = filled(sample.events(count=10)), ScriptedSink()
    with delivering(journal, (route(), sink)):
        wait_for(lambda: len(sink.received) == 10)
        first = {message.number: message.id for _, message in sink.received}
        journal.keep("replay", {"1": {"sink": "crm", "stream": "orders", "first": 3, "last": 6, "actor": "ann"}})
        wait_for(lambda: journal.kept("replay") == {})
    again = [message for _, message in sink.received[10:]]
    assert {message.number: message.id for message in again} == {n: first[n] for n in range(3, 7)}
    assert progress(journal) == Progress(10)
    assert journal.audit_trail()[-1].entry.action == "sink.replayed"


def test_a_dead_letter_is_replayed_and_settled() -> None:
    journal, sink = filled(sample.events(count=3)), ScriptedSink(judge=failing(2))
    job = {"sink": "crm", "stream": "orders", "first": 2, "last": 2, "actor": "ann", "letter": 1}
    with delivering(journal, (route(retry={"after_s": []}), sink)):
        wait_for(lambda: journal.undelivered_counts() == {"crm": 1})
        journal.keep("replay", {"1": job})
        wait_for(lambda: journal.kept("replay") == {})
        assert journal.undelivered_counts() == {"crm": 1}, "it failed again: the same letter stays open"
        sink.judge = failing()
        journal.keep("replay", {"2": job})
        wait_for(lambda: journal.undelivered_counts() == {})
    assert journal.undelivered(state=None)[0].state is LetterState.REPLAYED
    assert sorted(numbers(sink.received)) == [1, 2, 3]


def test_a_bug_in_an_adapter_loses_nothing() -> None:
    def judge(message: Message) -> BridgeError | None:
        if message.number == 2:
            raise ZeroDivisionError
        return None

    journal, sink = filled(sample.events(count=3)), ScriptedSink(judge=judge)
    with delivering(journal, (route(retry=SLOW), sink)):
        wait_for(lambda: progress(journal) == Progress(3, ((2, 2),)))


def test_a_rate_is_kept() -> None:
    journal, sink = filled(sample.events(count=40)), ScriptedSink()
    with delivering(journal, (route(rate=20.0), sink)):
        wait_for(lambda: len(sink.received) >= 20)
        assert len(sink.received) < 40


def test_a_rate_is_one_of_events_and_not_of_parcels() -> None:
    journal, sink = filled(sample.events(count=40)), ScriptedSink(wants="columns", is_atomic=True)
    with delivering(journal, (route(form="columns", rate=1.0, batch={"events": 10}), sink)):
        wait_for(lambda: progress(journal).cursor >= 10)
        assert len(sink.rows) == 10, "the next ten have to wait for ten seconds"


def test_large_events_are_read_a_few_at_a_time() -> None:
    """As many as the memory holds, one at least, and in the end all."""
    journal = filled(sample.events("orders", 60), sample.events("orders", 40, start=60))
    (first, _) = journal.read("orders")
    for budget in (1, first.batch.nbytes // 4, first.batch.nbytes, 10 * first.batch.nbytes):
        feed, counts = Feed(look(), progress=Progress(), one_a_key=True), []
        while chunk := feed.read(journal, after=feed.taken, last=None, limit=1_000, budget_bytes=budget):
            counts.append(chunk.last - chunk.first + 1)
            assert counts[-1] == 1 or chunk.rows.batch.nbytes <= budget
            feed.take_in(chunk, now_s=0.0)
        assert sum(counts) == 100
        assert len(counts) == 1 or budget <= first.batch.nbytes
