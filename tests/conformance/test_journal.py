"""What `bridge.ports.Journal` promises, on every adapter.

The first class is what any adapter must pass; the second what an adapter with gapless numbers and retention adds.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pyarrow as pa
import pytest

from bridge.errors import InternalError
from bridge.journal.sqlite import SqliteJournal
from bridge.model import (
    AuditEntry,
    Commit,
    LetterState,
    NewParked,
    Position,
    StreamPhase,
    StreamState,
)
from bridge.ports import Retention
from bridge.testing import FakeClock, MemoryJournal
from bridge.trail import START, Head, link
from tests import journal_samples as sample

AnyJournal = SqliteJournal | MemoryJournal


class TestAnyJournal:
    def test_events_come_back_in_order_and_value_by_value(self, journal: AnyJournal) -> None:
        first, second = sample.events(count=3), sample.events(count=2, start=3)
        journal.append(sample.commit(first, at=1))
        journal.append(sample.commit(second, at=2))
        read = pa.concat_batches([block.batch for block in journal.read("orders")])
        assert read.equals(pa.concat_batches([first.batch, second.batch]), check_metadata=True)

    def test_a_stream_never_appended_to_is_empty(self, journal: AnyJournal) -> None:
        assert list(journal.read("orders")) == []
        assert journal.extents() == {}

    def test_a_window_of_several_streams_is_one_commit(self, journal: AnyJournal) -> None:
        given = journal.append(sample.commit(sample.events("orders", 3), sample.events("customers", 2), at=1))
        assert {stream: last for stream, (_, last) in given.items()} == {"orders": 3, "customers": 2}
        assert journal.extents().keys() == {"orders", "customers"}

    def test_position_and_state_commit_with_the_events(self, journal: AnyJournal) -> None:
        assert journal.position("erp") == (None, {})
        journal.append(sample.commit(sample.events(), at=7))
        assert journal.position("erp") == (Position(1, (7, 0)), {"page": 7})

    def test_a_commit_without_rows_moves_the_position(self, journal: AnyJournal) -> None:
        assert journal.append(sample.commit(at=9)) == {}
        assert journal.position("erp")[0] == Position(1, (9, 0))

    def test_a_commit_without_state_keeps_the_last_one(self, journal: AnyJournal) -> None:
        journal.append(sample.commit(at=1))
        journal.append(Commit(source="erp", position=Position(1, (2, 0))))
        assert journal.position("erp") == (Position(1, (2, 0)), {"page": 1})

    def test_a_position_that_would_move_back_stores_nothing(self, journal: AnyJournal) -> None:
        """I2: neither the position nor the events that came with it."""
        journal.append(sample.commit(sample.events(), at=7))
        with pytest.raises(InternalError):
            journal.append(sample.commit(sample.events(start=3), at=6))
        assert sample.order_numbers(journal.read("orders")) == ["N0", "N1", "N2"]
        assert journal.position("erp")[0] == Position(1, (7, 0))

    def test_a_new_epoch_may_begin_anywhere_and_an_old_one_never_returns(self, journal: AnyJournal) -> None:
        journal.append(sample.commit(at=7))
        journal.append(sample.commit(at=1, epoch=2))
        with pytest.raises(InternalError):
            journal.append(sample.commit(at=99, epoch=1))
        assert journal.position("erp")[0] == Position(2, (1, 0))

    def test_blocks_carry_epoch_contract_and_time(self, journal: AnyJournal, clock: FakeClock) -> None:
        journal.append(sample.commit(sample.events(epoch=4, contract="2.1.0"), at=1))
        (block,) = journal.read("orders")
        assert (block.epoch, block.contract, block.journalled_at) == (4, "2.1.0", clock())

    def test_reading_after_the_end_gives_nothing(self, journal: AnyJournal) -> None:
        journal.append(sample.commit(sample.events(count=3), at=1))
        (block,) = journal.read("orders")
        assert list(journal.read("orders", after=block.last)) == []

    def test_a_cursor_stands_where_it_was_put(self, journal: AnyJournal) -> None:
        assert journal.cursor("kafka", "orders") == 0
        journal.advance("kafka", {"orders": 5, "customers": 2})
        assert (journal.cursor("kafka", "orders"), journal.cursor("kafka", "customers")) == (5, 2)
        assert journal.cursor("hook", "orders") == 0

    def test_a_cursor_that_would_move_back_moves_none(self, journal: AnyJournal) -> None:
        """I2, all or none."""
        journal.advance("kafka", {"orders": 5})
        with pytest.raises(InternalError):
            journal.advance("kafka", {"customers": 3, "orders": 4})
        assert (journal.cursor("kafka", "orders"), journal.cursor("kafka", "customers")) == (5, 0)

    def test_every_commit_changes_the_version(self, journal: AnyJournal) -> None:
        seen = {journal.version()}
        for at in range(3):
            journal.append(sample.commit(sample.events(start=at, count=1), at=at))
            seen.add(journal.version())
        assert len(seen) == 4

    def test_a_dead_letter_keeps_its_row_whole(self, journal: AnyJournal, clock: FakeClock) -> None:
        new = sample.letters(count=2)
        journal.append(Commit(letters=(new,)))
        listed = journal.letters()
        assert [(one.key, one.event_id, one.raw) for one in listed] == [
            (None, "orders:1:0:0", None),
            ("N1", "orders:1:1:0", None),
        ]
        letter = journal.letter(listed[1].id)
        assert letter is not None
        assert letter.raw is not None
        assert (letter.breaches, letter.contract, letter.created_at) == (new.rejected.breaches[1], "1.0.0", clock())
        assert letter.raw.columns.equals(new.rejected.raw.columns.slice(1, 1))
        assert letter.raw.shape == sample.SHAPE
        assert {name: (mark.rows.tolist(), mark.raw) for name, mark in letter.raw.marks.items()} == {
            "amt": ([0], (b"NaN",)),
            "note": ([0], (None,)),
        }

    def test_letters_are_found_by_stream_state_and_page(self, journal: AnyJournal) -> None:
        journal.append(Commit(letters=(sample.letters("orders", 3), sample.letters("customers", 2))))
        assert journal.letter_counts() == {"orders": 3, "customers": 2}
        first, *others = journal.letters(stream="orders")
        assert [one.id for one in journal.letters(stream="orders", after=first.id, limit=1)] == [others[0].id]
        journal.append(Commit(settled={first.id: (LetterState.DISCARDED, "ann: a test order")}))
        assert journal.letter_counts() == {"orders": 2, "customers": 2}
        assert [one.id for one in journal.letters(state=LetterState.DISCARDED)] == [first.id]
        assert len(journal.letters(state=None)) == 5

    def test_a_letter_is_settled_once_and_keeps_why(self, journal: AnyJournal, clock: FakeClock) -> None:
        journal.append(Commit(letters=(sample.letters(count=1),)))
        (letter,) = journal.letters()
        now = clock.advance(60)
        journal.append(Commit(settled={letter.id: (LetterState.REPLAYED, "ann: mended")}))
        settled = journal.letter(letter.id)
        assert settled is not None
        assert (settled.state, settled.reason, settled.settled_at) == (LetterState.REPLAYED, "ann: mended", now)
        with pytest.raises(InternalError):
            journal.append(Commit(events=(sample.events(),), settled={letter.id: (LetterState.REPLAYED, "again")}))
        assert list(journal.read("orders")) == []

    def test_a_letter_that_is_not_there_is_none(self, journal: AnyJournal) -> None:
        assert journal.letter(17) is None
        with pytest.raises(InternalError):
            journal.append(Commit(settled={17: (LetterState.REPLAYED, "")}))

    def test_parked_rows_wait_in_order_until_released(self, journal: AnyJournal) -> None:
        raws = [sample.raw(count=count, start=10 * count) for count in (2, 1, 4)]
        journal.append(Commit(parked=tuple(NewParked(3, raw) for raw in raws)))
        held = journal.parked("orders", limit=2)
        assert journal.parked_counts() == {"orders": 7}
        assert all(sample.same_raw(one.raw, raw) for one, raw in zip(held, raws, strict=False))
        assert {one.epoch for one in held} == {3}
        journal.append(Commit(events=(sample.events(),), unparked=tuple(one.id for one in held)))
        (left,) = journal.parked("orders")
        assert sample.same_raw(left.raw, raws[2])
        with pytest.raises(InternalError):
            journal.append(Commit(unparked=(held[0].id,)))

    def test_a_stream_state_replaces_the_last_one(self, journal: AnyJournal) -> None:
        since = sample.START
        journal.append(Commit(streams=(StreamState("orders", StreamPhase.RUNNING, since, shape=sample.SHAPE),)))
        drift = StreamState("orders", StreamPhase.DRIFT, since, "column amt is gone", sample.SHAPE)
        journal.append(Commit(streams=(drift, StreamState("customers", StreamPhase.PAUSED, since))))
        states = journal.stream_states()
        assert states == {"orders": drift, "customers": StreamState("customers", StreamPhase.PAUSED, since)}

    def test_validity_counts_from_a_minute_on(self, journal: AnyJournal, clock: FakeClock) -> None:
        journal.append(Commit(judged={"orders": (10, 1), "customers": (5, 5)}))
        later = clock.advance(120)
        journal.append(Commit(judged={"orders": (20, 0)}))
        journal.append(Commit(judged={"orders": (0, 2)}))
        assert journal.validity("orders", since=later) == (20, 2)
        assert journal.validity("orders", since=later - timedelta(hours=1)) == (30, 3)
        assert journal.validity("invoices", since=later) == (0, 0)

    def test_the_first_digest_of_a_contract_version_stands(self, journal: AnyJournal) -> None:
        assert journal.pin("orders", "1.0.0", "abc") == "abc"
        assert journal.pin("orders", "1.0.0", "xyz") == "abc"
        assert journal.pin("orders", "1.1.0", "xyz") == "xyz"

    def test_a_request_is_open_until_it_is_settled_once(self, journal: AnyJournal, clock: FakeClock) -> None:
        first = journal.request("snapshot.start", {"table": "oeordh"}, "ann")
        second = journal.request("stream.pause", {}, "bob")
        assert [(one.id, one.args, one.actor, one.ok) for one in journal.requests()] == [
            (first, {"table": "oeordh"}, "ann", None),
            (second, {}, "bob", None),
        ]
        now = clock.advance(1)
        journal.settle(first, ok=False, result={"why": "no such table"})
        assert [one.id for one in journal.requests()] == [second]
        settled = journal.requests(open_only=False)[0]
        assert (settled.ok, settled.result, settled.settled_at) == (False, {"why": "no such table"}, now)
        with pytest.raises(InternalError):
            journal.settle(first, ok=True, result={})

    def test_settled_requests_are_listed_newest_last(self, journal: AnyJournal) -> None:
        ids = [journal.request("stream.pause", {"n": n}, "ann") for n in range(5)]
        assert [one.id for one in journal.requests(open_only=False, limit=2)] == ids[-2:]
        assert [one.id for one in journal.requests(limit=2)] == ids[:2]

    def test_the_audit_trail_keeps_order_and_time(self, journal: AnyJournal, clock: FakeClock) -> None:
        discard = AuditEntry("ann", "dead.discard", "orders/17", "a test order")
        pause = AuditEntry("bob", "stream.pause", "orders")
        journal.audit(discard)
        journal.append(Commit(audit=(pause,)))
        assert [(one.at, one.entry) for one in journal.audit_trail()] == [(clock(), discard), (clock(), pause)]
        assert [one.entry for one in journal.audit_trail(limit=1)] == [pause]

    def test_the_audit_trail_can_be_paged_and_cut_by_actor_and_action(self, journal: AnyJournal) -> None:
        for actor, action in (("ann", "dead.discard"), ("bob", "dead.replay"), ("ann", "deadline"), ("ann", "reload")):
            journal.audit(AuditEntry(actor, action, "orders"))
        assert [one.number for one in journal.audit_trail(after=1, limit=2)] == [2, 3]
        assert [one.number for one in journal.audit_trail(actor="ann", limit=2)] == [3, 4]
        assert [one.number for one in journal.audit_trail(action="dead")] == [1, 2]
        assert [one.number for one in journal.audit_trail(actor="ann", action="dead.discard", after=0)] == [1]

    def test_a_small_state_is_kept_with_its_audit_entry(self, journal: AnyJournal) -> None:
        made = AuditEntry("cli:ann", "key.create", "lbk_a")
        journal.keep("key", {"lbk_a": {"principal": "crm"}, "lbk_b": {"principal": "web"}}, audit=[made])
        journal.keep("key", {"lbk_b": None, "lbk_c": None})
        assert journal.kept("key") == {"lbk_a": {"principal": "crm"}}
        assert journal.kept("sink") == {}
        assert [one.entry for one in journal.audit_trail()] == [made]

    def test_each_audit_entry_is_chained_to_the_one_before(self, journal: AnyJournal) -> None:
        """However it came in, and so that another program can recompute it."""
        assert journal.audit_head() == Head()
        journal.audit(AuditEntry("ann", "dead.discard", "orders/17", "Zo\u00eb said so"))
        journal.append(Commit(audit=(AuditEntry("bob", "reload", "configuration"),)))
        first, second = journal.audit_trail()
        assert first.hash == link(START, 1, first.at, first.entry)
        assert second.hash == link(first.hash or b"", 2, second.at, second.entry)
        assert journal.audit_head() == second.head
        assert journal.audit_verify(first.head) == journal.audit_verify(second.head) == []

    def test_a_head_that_the_audit_trail_never_had_is_named(self, journal: AnyJournal) -> None:
        journal.audit(AuditEntry("ann", "reload", "configuration"))
        (beyond,) = journal.audit_verify(Head(3, bytes(32)))
        assert "2 to 3 are missing" in beyond
        (other,) = journal.audit_verify(Head(1, bytes(32)))
        assert "rewritten" in other

    def test_a_sound_journal_has_no_damage_and_closes_twice(self, journal: AnyJournal) -> None:
        journal.append(
            Commit(events=(sample.events(),), letters=(sample.letters(),), parked=(NewParked(1, sample.raw()),))
        )
        assert journal.verify() == []
        journal.close()
        journal.close()


class TestNumberedJournal:
    def test_numbers_are_contiguous_from_one_per_stream(self, journal: AnyJournal) -> None:
        assert journal.append(sample.commit(sample.events(count=3), at=1)) == {"orders": (1, 3)}
        both = sample.commit(sample.events(count=2), sample.events("customers", 1), at=2)
        assert journal.append(both) == {"orders": (4, 5), "customers": (1, 1)}
        assert [(block.first, block.last) for block in journal.read("orders")] == [(1, 3), (4, 5)]

    def test_two_batches_of_one_stream_in_one_commit_follow_each_other(self, journal: AnyJournal) -> None:
        batches = (sample.events(count=2), sample.events(count=3, start=2, contract="1.1.0"))
        assert journal.append(sample.commit(*batches, at=1)) == {"orders": (1, 5)}
        assert [block.contract for block in journal.read("orders")] == ["1.0.0", "1.1.0"]

    def test_reading_cuts_at_after_and_at_limit(self, journal: AnyJournal) -> None:
        for at in range(3):
            journal.append(sample.commit(sample.events(count=3, start=3 * at), at=at))
        for after, limit in product(range(10), [None, 0, 1, 4, 99]):
            blocks = list(journal.read("orders", after=after, limit=limit))
            expected = list(range(after, 9))[:limit]
            assert sample.order_numbers(blocks) == [f"N{row}" for row in expected]
            assert [number - 1 for block in blocks for number in range(block.first, block.last + 1)] == expected

    def test_an_extent_says_what_is_held(self, journal: AnyJournal, clock: FakeClock) -> None:
        journal.append(sample.commit(sample.events(count=3), at=1))
        extent = journal.extents()["orders"]
        assert (extent.first, extent.last, extent.blocks, extent.bytes > 0) == (1, 3, 1, True)
        assert extent.last_commit_at == sample.START + timedelta(seconds=2)
        assert extent.last_journalled_at == clock()

    def test_it_tells_when_a_number_or_the_next_one_kept_was_journalled(
        self, journal: AnyJournal, clock: FakeClock
    ) -> None:
        # Contracts differ, so that the blocks stay apart.
        times = [clock.advance(60)]
        journal.append(sample.commit(sample.events(count=3), at=1))
        times.append(clock.advance(60))
        journal.append(sample.commit(sample.events(count=2, start=3, contract="1.9.0"), at=2))
        told = [journal.journalled_at("orders", number) for number in range(7)]
        assert told == [times[0]] * 4 + [times[1]] * 2 + [None]
        assert journal.journalled_at("nothing", 1) is None

    def test_it_tells_how_far_events_have_the_same_columns(self, journal: AnyJournal) -> None:
        journal.append(sample.commit(sample.events(count=3), at=1))
        journal.append(sample.commit(sample.events(count=2, contract="1.1.0"), at=2))
        wide = sample.events(count=2)
        narrow = replace(wide, batch=wide.batch.select(wide.batch.schema.names[:-1]))
        journal.append(sample.commit(narrow, wide, at=3))
        told = [journal.alike_to("orders", first, 9) for first in range(1, 10)]
        assert told == [5, 5, 5, 5, 5, 7, 7, 9, 9]
        assert (journal.alike_to("orders", 2, 4), journal.alike_to("nothing", 1, 5)) == (4, 5)

    def test_age_forgets_only_what_every_subscriber_has_read(
        self, open_journal: Callable[[Retention], AnyJournal], clock: FakeClock
    ) -> None:
        journal = open_journal(Retention(age=timedelta(days=1)))
        # Contracts differ, so that the blocks stay apart.
        for at in range(4):
            journal.append(sample.commit(sample.events(count=2, start=2 * at, contract=f"1.{at}.0"), at=at))
        journal.advance("kafka", {"orders": 8})
        journal.advance("hook", {"orders": 5})
        tend_fully(journal, clock)
        assert journal.extents()["orders"].first == 1
        clock.advance(86_401)
        tend_fully(journal, clock)
        assert journal.extents()["orders"].first == 5
        assert sample.order_numbers(journal.read("orders")) == ["N4", "N5", "N6", "N7"]
        assert journal.gaps("hook") == []

    def test_numbers_are_not_given_again_after_everything_was_forgotten(
        self, open_journal: Callable[[Retention], AnyJournal], clock: FakeClock
    ) -> None:
        journal = open_journal(Retention(age=timedelta(days=1)))
        journal.append(sample.commit(sample.events(count=3), at=1))
        clock.advance(86_401)
        tend_fully(journal, clock)
        extent = journal.extents()["orders"]
        assert (extent.first, extent.last, extent.blocks) == (4, 3, 0)
        assert journal.append(sample.commit(sample.events(count=1), at=2)) == {"orders": (4, 4)}
        assert journal.verify() == []

    def test_size_forgets_the_oldest_and_declares_the_gap(
        self, open_journal: Callable[[Retention], AnyJournal], clock: FakeClock
    ) -> None:
        journal = open_journal(Retention(size_bytes=1))
        journal.append(sample.commit(sample.events(count=2), at=1))
        journal.append(sample.commit(sample.events(count=2, start=2, contract="1.1.0"), at=2))
        journal.advance("kafka", {"orders": 1})
        journal.advance("hook", {"orders": 4})
        tend_fully(journal, clock)
        missed = [(gap.stream, gap.first, gap.last, gap.declared_at) for gap in journal.gaps("kafka")]
        assert missed[0][1] == 2
        assert missed[-1][2] == 4
        assert {(stream, at) for stream, _, _, at in missed} == {("orders", clock())}
        assert journal.gaps("hook") == []
        assert journal.cursor("kafka", "orders") == 1

    def test_settled_letters_are_forgotten_by_age_and_open_ones_never(
        self, open_journal: Callable[[Retention], AnyJournal], clock: FakeClock
    ) -> None:
        journal = open_journal(Retention(age=timedelta(days=1)))
        journal.append(Commit(letters=(sample.letters(count=2),)))
        settled, still_open = journal.letters()
        journal.append(Commit(settled={settled.id: (LetterState.DISCARDED, "ann: a test order")}))
        clock.advance(86_401)
        tend_fully(journal, clock)
        assert [letter.id for letter in journal.letters(state=None)] == [still_open.id]
        assert journal.letter(still_open.id) is not None
        assert journal.verify() == []


def tend_fully(journal: AnyJournal, clock: FakeClock) -> None:
    while journal.tend(clock()):
        pass
