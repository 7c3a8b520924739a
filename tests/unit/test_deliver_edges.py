"""Delivery where things meet: retention, replays, restarts, hangs and bugs beside what is under way."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from bridge.deliver import thread, trial
from bridge.deliver.aftermath import Aftermath
from bridge.deliver.feed import Feed
from bridge.deliver.loop import UNSTORED_EVENTS, SinkLoop
from bridge.deliver.replays import choose
from bridge.errors import BridgeError, JournalCorrupt, SinkRefused, SinkUnavailable
from bridge.metrics import Metrics
from bridge.model import AuditEntry, Block, LetterState
from bridge.parcel import Delivered, Job, Message, Parcel, Progress, Rows, Switches
from bridge.ports import Retention
from bridge.testing import MemoryJournal, ScriptedSink
from tests import journal_samples as sample
from tests.daemon import wait_for
from tests.deliveries import Running, delivering, filled, look, numbers, progress, route, same_key

QUICK = {"after_s": [0.01, 0.01]}
LETTER = {"sink": "crm", "stream": "orders", "first": 2, "last": 2, "actor": "ann", "letter": 1}
RANGE = {"sink": "crm", "stream": "orders", "first": 3, "last": 6, "actor": "ann"}


class Failing(ScriptedSink):
    """Fails its first calls whole, whatever they bring."""

    def __init__(self, *, times: int) -> None:
        super().__init__(is_atomic=True)
        self.left = times

    async def send(self, parcel: Parcel) -> Mapping[int, BridgeError]:
        """See the port."""
        if self.left:
            self.left -= 1
            raise SinkUnavailable("disk full")
        return await super().send(parcel)


class Hanging(ScriptedSink):
    """A receiver that accepts a connection and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    async def open(self) -> None:
        """Never done."""
        self.asked.set()
        await asyncio.Event().wait()


def ailment(running: Running, component: str = "sink:crm") -> str:
    return next((each.what for each in running.board.ailments() if each.component == component), "")


def forget(journal: MemoryJournal) -> None:
    """Retention takes everything."""
    journal._retain = Retention(size_bytes=0)
    while journal.tend(datetime.now(UTC)):
        continue


def test_what_came_back_does_not_wait_for_others_again() -> None:
    journal, sink = filled(sample.events(count=3)), Failing(times=1)
    keys: dict[str, Any] = {"batch": {"events": 10, "seconds": 0.05}}
    with delivering(journal, (route(retry=QUICK, **keys), sink)):
        wait_for(lambda: len(sink.received) == 3)
    assert numbers(sink.received) == [1, 2, 3]


def test_a_cursor_does_not_move_back_when_pending_events_are_read_again() -> None:
    journal = filled(sample.events(count=20))
    feed = Feed(look(), progress=Progress(20, ((5, 8),)), one_a_key=True)
    after, last = feed.next_range(100)
    assert (after, last) == (4, 8)
    feed.take_in(feed.read(journal, after=after, last=last, limit=100, budget_bytes=1 << 20), now_s=0.0, last=last)
    assert feed.progress() == Progress(20, ((5, 8),))


def test_of_pending_events_that_retention_took_no_others_are_sent_in_their_place() -> None:
    journal = filled(sample.events(count=10), sample.events(count=10, start=10))
    journal.advance("crm", {"orders": 0})
    journal._forget_first("orders", datetime.now(UTC))
    feed = Feed(look(), progress=Progress(20, ((5, 8),)), one_a_key=True)
    after, last = feed.next_range(100)
    chunk = feed.read(journal, after=after, last=last, limit=100, budget_bytes=1 << 20)
    assert feed.take_in(chunk, now_s=0.0, last=last) == (5, 8)
    assert feed.progress() == Progress(20), "11 to 20 were delivered long ago"


def test_a_feed_that_read_everything_reads_again_only_when_it_is_told_of_more() -> None:
    journal, feed = filled(sample.events(count=6)), Feed(look(), progress=Progress(0), one_a_key=True)

    def read(limit: int) -> tuple[int, bool]:
        after, _ = feed.next_range(limit)
        feed.take_in(feed.read(journal, after=after, last=None, limit=limit, budget_bytes=1 << 20), now_s=0.0)
        return feed.taken, feed.has_more

    assert read(4) == (4, True)
    assert read(1) == (5, True), "from what was decoded"
    journal.append(sample.commit(sample.events(count=2, start=6), at=1))
    assert read(100) == (6, True), "what was decoded holds no more; the journal may"
    assert read(100) == (8, False)


def test_what_is_journalled_while_a_feed_reads_is_not_missed() -> None:
    journal = filled(sample.events(count=3))
    feed = Feed(look(), progress=Progress(0), one_a_key=True)
    after, _ = feed.next_range(100)
    chunk = feed.read(journal, after=after, last=None, limit=100, budget_bytes=1 << 20)
    feed.more(4, now_s=0.0)
    feed.take_in(chunk, now_s=0.0)
    assert feed.has_more


def test_people_are_told_what_retention_took_before_it_was_sent() -> None:
    journal, sink = filled(sample.events(count=10), sample.events(count=10, start=10)), ScriptedSink()
    journal.record([Delivered("crm", {"orders": Progress(4)})])
    journal._forget_first("orders", datetime.now(UTC))
    with delivering(journal, (route(), sink)) as running:
        wait_for(lambda: len(sink.received) == 10)
        wait_for(lambda: ailment(running) == "retention took events before they were sent: 5 to 10 of orders")
        journal.keep("sink", {"crm": Switches(resumed_at=datetime.now(UTC)).dump()})
        wait_for(lambda: not ailment(running))


def test_a_new_sink_does_not_miss_what_was_gone_before_it_came() -> None:
    journal, sink = filled(sample.events(count=10), sample.events(count=10, start=10)), ScriptedSink()
    journal._forget_first("orders", datetime.now(UTC))
    with delivering(journal, (route(), sink)) as running:
        wait_for(lambda: len(sink.received) == 10)
        wait_for(lambda: "sink:crm" in running.board.report()["checks"])
        assert ailment(running) == ""


def test_a_replay_of_what_is_forgotten_or_not_shown_ends() -> None:
    class Nothing:
        def apply(self, block: Block) -> Rows:
            return Rows.of(block).take(np.array([], np.int64))

    journal, sink = filled(sample.events(count=10)), ScriptedSink()
    plain = route()
    blind = replace(plain, looks={"orders": replace(plain.looks["orders"], selection=Nothing())})
    with delivering(journal, (blind, sink)):
        wait_for(lambda: progress(journal) == Progress(10))  # the cursor passes what the sink is not shown
        journal.keep("replay", {"1": RANGE})
        wait_for(lambda: journal.kept("replay") == {})
        forget(journal)
        journal.keep("replay", {"2": RANGE})
        wait_for(lambda: journal.kept("replay") == {})


def test_a_letter_is_delivered_though_retention_took_its_event() -> None:
    journal, sink = filled(sample.events(count=3)), ScriptedSink(judge=_refusing(2))
    with delivering(journal, (route(retry={"after_s": []}), sink)):
        wait_for(lambda: journal.undelivered_counts() == {"crm": 1} and progress(journal) == Progress(3))
    forget(journal)
    left = [2]

    def judge(_message: Message) -> BridgeError | None:
        left[0] -= 1
        return SinkUnavailable("HTTP 503") if left[0] >= 0 else None

    again = ScriptedSink(judge=judge)
    journal.keep("replay", {"d1": LETTER})
    with delivering(journal, (route(retry={"after_s": [0.01] * 5}), again)):
        wait_for(lambda: journal.undelivered_counts() == {})
    assert numbers(again.received) == [2]


def test_a_letter_discarded_while_it_is_replayed_holds_nothing_up() -> None:
    journal, sink = filled(sample.events(count=3)), ScriptedSink(judge=_refusing(2))
    with delivering(journal, (route(retry={"after_s": []}), sink)) as running:
        wait_for(lambda: journal.undelivered_counts() == {"crm": 1})
        running.call(sink.gate.clear)
        sink.judge = lambda _message: None
        journal.keep("replay", {"d1": LETTER})
        wait_for(lambda: sink.under_way)
        how = (LetterState.DISCARDED, "ann: not wanted")
        journal.record([Delivered("crm", settled={1: how}, audit=(AuditEntry("ann", "dead.discard", "crm/d1"),))])
        running.call(sink.gate.set)
        journal.append(sample.commit(sample.events(count=2, start=3), at=9))
        running.bell.ring()
        wait_for(lambda: progress(journal) == Progress(5))
    assert journal.undelivered(state=None)[0].state is LetterState.DISCARDED


def test_letters_of_one_key_are_replayed_one_after_the_other_and_other_keys_beside_them() -> None:
    journal = filled(same_key(3), sample.events(count=2, start=7))  # the second of these is N8
    refusing = ScriptedSink(judge=lambda message: SinkRefused("HTTP 400") if message.number != 4 else None)
    with delivering(journal, (route(retry={"after_s": []}, breaker={"minimum_calls": 1_000}), refusing)):
        wait_for(lambda: journal.undelivered_counts() == {"crm": 4})
    letters = {
        f"d{each.id}": LETTER | {"letter": each.id, "key": each.key, "first": each.number, "last": each.number}
        for each in journal.undelivered()
    }
    journal.keep("replay", letters)
    sink = ScriptedSink()
    sink.gate.clear()
    with delivering(journal, (route(), sink)) as running:
        wait_for(lambda: len(sink.under_way) == 2)
        assert sorted(job.job.first for job in running.delivery.loops["crm"].replays.values()) == [1, 5]
        running.call(sink.gate.set)
        wait_for(lambda: journal.undelivered_counts() == {})
    assert numbers(sink.received, "N0") == [1, 2, 3]


def test_a_letter_without_a_key_is_replayed_between_those_before_and_those_after_it() -> None:
    jobs = [
        Job(f"d{number}", "crm", "orders", number, number, "ann", number, key)
        for number, key in [(4, "A"), (1, "A"), (2, "B"), (3, None), (5, "C")]
    ]
    everything = Job("7", "crm", "orders", 1, 9, "ann")
    assert [job.first for job in choose(jobs, [], 9)] == [1, 2]
    assert [job.first for job in choose([jobs[3], jobs[4]], [jobs[2]], 9)] == []
    assert [job.first for job in choose([jobs[3], jobs[4]], [], 9)] == [3]
    assert choose([*jobs, everything], [], 1) == [jobs[1]]
    assert everything in choose([*jobs, everything], [], 9), "a range is ordered within itself"


def test_a_letter_that_is_damaged_is_given_up_once_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, sink = filled(sample.events(count=3)), ScriptedSink(judge=_refusing(2))
    with delivering(journal, (route(retry={"after_s": []}), sink)):
        wait_for(lambda: journal.undelivered_counts() == {"crm": 1})
    asked: list[int] = []

    def damaged(letter: int) -> None:
        asked.append(letter)
        raise JournalCorrupt("the checksum of letter d1 is wrong")

    monkeypatch.setattr(journal, "undelivered_one", damaged)
    journal.keep("replay", {"d1": LETTER})
    with delivering(journal, (route(), sink)) as running:
        wait_for(lambda: journal.kept("replay") == {})
        journal.append(sample.commit(sample.events(count=1, start=3), at=9))
        running.bell.ring()
        wait_for(lambda: progress(journal) == Progress(4))
    assert asked == [1]
    entry = journal.audit_trail()[-1].entry
    told = "not sent: the checksum of letter d1 is wrong"
    assert (entry.actor, entry.action, entry.subject, entry.reason) == ("ann", "sink.replayed", "crm/d1", told)
    assert journal.undelivered_counts() == {"crm": 1}, "it stays open"


def test_a_stream_that_is_stopped_by_poison_stops_no_other_of_its_sink() -> None:
    journal = filled(same_key(20))
    journal.append(sample.commit(sample.events("customers", 300), at=2))
    sink = ScriptedSink(judge=lambda message: SinkUnavailable("HTTP 500") if message.id.startswith("orders") else None)
    keys: dict[str, Any] = {"hold_events": 5, "retry": {"after_s": [3600]}, "breaker": {"minimum_calls": 1_000}}
    with delivering(journal, (route(streams=("orders", "customers"), **keys), sink)) as running:
        wait_for(lambda: progress(journal, stream="customers") == Progress(300))
        wait_for(lambda: ailment(running) == "20 events wait behind failed ones: it reads no further in orders")
        journal.append(sample.commit(sample.events("customers", 10, start=300), at=3))
        journal.append(sample.commit(sample.events(count=5, start=20), at=4))
        running.bell.ring()
        wait_for(lambda: progress(journal, stream="customers") == Progress(310))
        assert running.board.report()["checks"]["sink:crm"]["blocks"] == ["orders"]
        assert running.delivery.loops["crm"].feeds["orders"].taken == 20


def test_a_test_event_goes_the_way_of_the_first_stream() -> None:
    """What a broker binds for a stream is bound for one that there is."""
    journal, sink = filled(sample.events(count=1)), ScriptedSink()
    message = trial.test_message(instance="acme", type_prefix="com.acme")
    with delivering(journal, (route(streams=("orders", "customers")), sink)) as running:
        wait_for(lambda: progress(journal) == Progress(1))
        future = running.delivery.try_out("crm", message)
        assert future is not None
        assert future.result(20)["ok"]
    assert ("orders", message) in sink.received


def test_only_so_many_letters_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, sink = filled(sample.events(count=40)), ScriptedSink(judge=lambda _message: SinkRefused("HTTP 400"))
    with delivering(journal, (route(retry={"after_s": []}, breaker={"minimum_calls": 10_000}), sink)) as running:
        wait_for(lambda: journal.undelivered_counts() == {"crm": 40})
        running.call(sink.gate.clear)
        sink.judge = lambda _message: None
        monkeypatch.setattr("bridge.deliver.loop.REPLAYS", 3)
        letters = {
            f"d{each.id}": {"letter": each.id, "key": each.key, "first": each.number, "last": each.number}
            for each in journal.undelivered()
        }
        journal.keep("replay", {number: {**LETTER, **each} for number, each in letters.items()})
        wait_for(lambda: len(running.delivery.loops["crm"].replays) == 3)
        running.call(sink.gate.set)
        wait_for(lambda: journal.undelivered_counts() == {})


def test_a_receiver_that_hangs_as_it_is_opened_keeps_no_stop_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.deliver.thread.PATIENCE_S", 0.05)
    journal, hanging, other = filled(sample.events(count=3)), Hanging(), ScriptedSink("other")
    with delivering(journal, (route(), hanging), (route("other"), other)):
        wait_for(hanging.asked.is_set)
        wait_for(lambda: len(other.received) == 3)
    assert progress(journal, "other") == Progress(3)


def test_a_sink_that_cannot_be_opened_is_told_of_at_once() -> None:
    class Closed(ScriptedSink):
        async def open(self) -> None:
            raise SinkUnavailable("the folder cannot be written")

    with delivering(filled(sample.events(count=3)), (route(), Closed())) as running:
        wait_for(lambda: ailment(running) == "the folder cannot be written")


def test_a_journal_that_cannot_be_read_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, sink = filled(sample.events(count=3)), ScriptedSink()

    def unreadable(*_arguments: object, **_keys: object) -> None:
        raise JournalCorrupt("block 1 of orders is damaged")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "read", unreadable)
        with delivering(journal, (route(), sink)) as running:
            wait_for(lambda: ailment(running) == "block 1 of orders is damaged")
            patch.undo()
            wait_for(lambda: len(sink.received) == 3)
            wait_for(lambda: not ailment(running))


def test_a_bug_of_ours_after_a_call_stops_that_sink_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    async def buggy(*_arguments: object, **_keys: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Aftermath, "conclude", buggy)
    with delivering(filled(sample.events(count=1)), (route(), ScriptedSink())) as running:
        wait_for(lambda: ailment(running) == "stopped by ZeroDivisionError")


def test_what_is_settled_while_the_last_is_stored_is_stored_too(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, sink = filled(sample.events(count=2)), ScriptedSink()
    record, storing, go = journal.record, threading.Event(), threading.Event()

    def slow_record(delivered: list[Delivered]) -> None:
        if delivered[0].progress.get("orders", Progress()).cursor:
            storing.set()
            assert go.wait(20)
        record(delivered)

    monkeypatch.setattr(journal, "record", slow_record)
    with delivering(journal, (route(concurrency=1), sink)) as running:
        wait_for(storing.is_set)
        running.call(sink.gate.clear)
        journal.append(sample.commit(sample.events(count=1, start=2), at=9))
        running.bell.ring()
        wait_for(lambda: sink.under_way)
        running.delivery.end()
        running.call(sink.gate.set)
        wait_for(lambda: sink.closed)
        go.set()
    assert progress(journal) == Progress(3)


def test_a_journal_that_takes_nothing_at_the_start_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, sink = filled(sample.events(count=2)), ScriptedSink()
    with monkeypatch.context() as patch:
        patch.setattr(journal, "subscribers", _unavailable)
        with delivering(journal, (route(), sink)) as running:
            wait_for(lambda: ailment(running, "delivery") == "disk full")
            patch.undo()
            wait_for(lambda: len(sink.received) == 2)
            assert ailment(running, "delivery") == ""


def test_a_paused_sink_rests_though_events_are_due() -> None:
    async def rest() -> float | None:
        journal, sink = filled(sample.events(count=1)), ScriptedSink(judge=lambda _message: SinkUnavailable("HTTP 503"))
        loop = SinkLoop(sink, route(retry={"after_s": [0.001]}), journal, progress={}, dumped=None, metrics=Metrics())
        await loop.step()
        await asyncio.gather(*loop._calls)
        assert loop.feeds["orders"].lanes.failing_count == 1
        loop.switches = Switches(paused=True)
        await asyncio.sleep(0.01)  # longer than it waits for its next attempt
        await loop.step()
        return loop._due_in_s()

    assert asyncio.run(rest()) is None


def test_a_bug_or_a_hang_in_a_trial_is_told_to_whoever_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Buggy(ScriptedSink):
        async def open(self) -> None:
            raise ZeroDivisionError

    monkeypatch.setattr("bridge.deliver.trial.PATIENCE_S", 0.01)
    message = trial.test_message(instance="acme", type_prefix="com.acme")
    assert asyncio.run(trial.try_out(Buggy(), message, stream="orders"))["detail"] == "stopped by ZeroDivisionError"
    assert asyncio.run(trial.try_out(Hanging(), message, stream="orders"))["detail"] == "no answer within 0.01 s"


def _refusing(number: int) -> Callable[[Message], BridgeError | None]:
    return lambda message: SinkRefused("HTTP 400") if message.number == number else None


def _unavailable() -> None:
    raise SinkUnavailable("disk full")


def test_a_replay_is_served_beside_a_stream_that_always_has_more() -> None:
    journal, sink = filled(sample.events(count=3_000)), ScriptedSink()
    journal.record([Delivered("crm", {"orders": Progress(100)})])
    journal.keep("replay", {"1": {**RANGE, "first": 1, "last": 20}})
    with delivering(journal, (route(concurrency=1), sink)):
        wait_for(lambda: len(sink.received) == 2_920)
    arrived = numbers(sink.received)
    assert arrived.index(20) < 1_000, "long before the stream had nothing more"


class Watched(MemoryJournal):
    """Notes which thread reads."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[str] = []

    def read(self, stream: str, *, after: int = 0, limit: int | None = None) -> Iterator[Block]:
        """See the port."""
        self.readers.append(threading.current_thread().name)
        return super().read(stream, after=after, limit=limit)


def test_what_is_fresh_is_read_on_the_loop_and_what_is_behind_is_not() -> None:
    journal, sink = Watched(), ScriptedSink()
    journal.append(sample.commit(sample.events(count=30)))
    with delivering(journal, (route(), sink)) as running:
        wait_for(lambda: len(sink.received) == 30)
        journal.readers.clear()
        journal.append(sample.commit(sample.events(count=40, start=30), at=1))
        running.bell.ring()
        wait_for(lambda: len(sink.received) == 70)
    assert "deliver" in journal.readers
    assert set(journal.readers) != {"deliver"}, "a few at once; where there are more, the loop does not wait for them"


def test_what_a_sink_waits_for_to_be_stored_is_stored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a quick sink would rest for most of the time that others are given to settle more."""
    monkeypatch.setattr(thread, "GATHER_S", 3600)
    count, sink = 3 * UNSTORED_EVENTS, ScriptedSink()
    with delivering(filled(sample.events(count=count)), (route(), sink)):
        wait_for(lambda: len(sink.received) == count)
