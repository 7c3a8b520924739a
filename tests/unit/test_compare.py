"""A stream compared with its table: what is gone, altered or made up is named; what only moves is not."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Event, get_ident
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from bridge import correct
from bridge.errors import SourceUnavailable
from bridge.extraction.extractor import Load, Page, Question, Subject
from bridge.model import Block, Commit, Mark, Marks, Op, RawBatch
from bridge.operate import Desk, perform
from bridge.ports import Retention
from bridge.reconcile.compare import Patience, Report, compare
from bridge.reconcile.mend import corrections
from bridge.reconcile.prints import prints
from bridge.reconcile.replayed import Replayed
from bridge.reconcile.sides import Legacy, Streamed, fields_of
from bridge.testing import MemoryJournal
from tests import shelf
from tests.shelf import raw

C, U, D, T = Op.CREATE, Op.UPDATE, Op.DELETE, Op.TRUNCATE
Articles = dict[int, int]  # id -> price


@dataclass
class Shop:
    """A table of articles, and the journal that follows it when it is told to."""

    table: Articles = field(default_factory=dict)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    asks_ahead: bool = True
    on_page: Callable[[], object] = lambda: None  # what goes on while a page is read
    on_mark: Callable[[], object] = lambda: None  # what arrives when somebody waits for it
    late: list[tuple[Op, int, int | None]] = field(default_factory=list)  # changes the journal does not have yet
    at: int = 0
    name: str = "shop"
    is_cancelled: bool = False
    is_ended: bool = False
    rests: list[float] = field(default_factory=list)  # that it wanted
    threads: set[int] = field(default_factory=set)  # that asked for pages
    subjects: Mapping[str, Subject] = field(default_factory=lambda: {"item": Subject("item", ("id",), None, "full", 3)})

    # -- the table

    def write(self, op: Op, number: int, price: int | None = None) -> None:
        """A change that the change log will bring."""
        if op is D:
            self.table.pop(number, None)
        else:
            assert price is not None
            self.table[number] = price
        self.late.append((op, number, price))

    def follow(self) -> None:
        """The journal takes in what the change log brought."""
        for op, number, price in self.late:
            self.at += 1
            self.put(raw((op, number, price), at=self.at))
        self.late.clear()

    def put(self, batch: RawBatch) -> None:
        """Journal a batch."""
        ruling = shelf.judge(stream=batch.stream).check(batch, epoch=1)
        self.journal.append(
            Commit(
                events=(ruling.events,) if ruling.events else (), letters=(ruling.letters,) if ruling.letters else ()
            )
        )

    # -- the extractor

    def open(self) -> None:
        """Nothing to do."""

    def page(self, question: Question) -> Page:
        """Rows in order of id."""
        self.threads.add(get_ident())
        after = question.resume["after"] if question.resume else -(1 << 60)
        if question.keys is not None:
            chosen = [number for number in question.keys.column("id").to_pylist() if number in self.table]
        else:
            chosen = sorted(number for number in self.table if number > after)[: question.limit]
        rows = raw(*[(C, number, self.table[number]) for number in chosen], at=1) if chosen else None
        columns = rows.columns if rows else pa.RecordBatch.from_pylist([], schema=raw((C, 1, 1), at=1).columns.schema)
        self.on_page()
        is_last = question.keys is not None or len(chosen) < question.limit
        return Page(raw((C, 1, 1), at=1).shape, columns, datetime.now(UTC), None if is_last else {"after": chosen[-1]})

    def probe(self) -> Load:
        """It is at rest."""
        return Load()

    def cancel(self) -> None:
        """Nothing runs."""
        self.is_cancelled = True

    def close(self) -> None:
        """Nothing is open."""

    # -- the barrier and the pace

    def mark(self) -> object:
        """The journal follows at once when somebody waits for it."""
        self.follow()
        self.on_mark()
        return None

    def is_passed(self, mark: object) -> bool:  # noqa: ARG002
        """It has."""
        return True

    def before(self, rows: int) -> int:
        """No budget."""
        return rows

    def after(self, page: Page) -> None:
        """No bill."""

    def rest(self, seconds: float) -> None:
        """It does not take that long."""
        self.rests.append(seconds)

    def end(self) -> None:
        """Nobody waits."""
        self.is_ended = True

    def compared(self, *, looks: int = 10) -> Report:
        """The outcome of a comparison."""
        ours, theirs = self.sides()
        return compare(ours, theirs, self, patience=Patience(looks, 1))

    def sides(self) -> tuple[Replayed, Legacy]:
        """The journal's and the table's."""
        contract = shelf.contract()
        return Replayed(self.journal, "item", fields_of(contract)), Legacy(self, "item", contract, pace=self)

    def healed(self, *, meanwhile: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
        """The outcome of each correction after a comparison; `meanwhile` comes before each."""
        ours, theirs = self.sides()
        report = compare(ours, theirs, self, patience=Patience(10, 1))
        contract, outcomes = shelf.contract(), []
        for args in corrections(report, ours, theirs, self, document=contract, patience=Patience(10, 1)):
            meanwhile()
            number = self.journal.request("stream.correct", args, "a test")
            request = next(one for one in self.journal.requests() if one.id == number)
            perform(Desk(self.journal, {"item": shelf.judge()}, systems={"item": "shop"}), request)
            outcomes.append(next(one for one in self.journal.requests(open_only=False) if one.id == number).result)
        return [dict(outcome or {}) for outcome in outcomes]


@pytest.fixture
def shop() -> Shop:
    """Nine articles, journalled."""
    shop = Shop()
    for number in range(1, 10):
        shop.write(C, number, 10 * number)
    shop.follow()
    return shop


def found(report: Report) -> list[tuple[str, str, tuple[str, ...]]]:
    """The differences, plainly."""
    return [(one.key, one.kind, one.fields) for one in report.differences]


@pytest.mark.parametrize("asks_ahead", [True, False])
def test_sides_that_agree_differ_in_nothing(shop: Shop, asks_ahead: bool) -> None:  # noqa: FBT001  given
    shop.asks_ahead = asks_ahead
    report = shop.compared()
    assert report.is_equal
    assert (report.rows, report.keys, report.unsettled, report.looks) == (9, 9, (), 1)
    assert (get_ident() in shop.threads) is not asks_ahead  # a file is read by the thread that opened it


def test_sides_that_agree_are_not_waited_for(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database at rest lets its log's end be known late; a polled one would have to be read again."""
    monkeypatch.setattr(Shop, "is_passed", lambda _self, _mark: pytest.fail("waited"))
    assert shop.compared().is_equal


def test_a_system_that_wants_to_be_left_alone_is_asked_for_the_same_page_later(shop: Shop) -> None:
    refusals = [SourceUnavailable("not now", retry_after_s=7), SourceUnavailable("nor now", retry_after_s=8)]

    def refuse() -> None:
        if refusals:
            raise refusals.pop(0)

    shop.on_page = refuse
    report = shop.compared()
    assert (report.is_equal, report.rows, shop.rests) == (True, 9, [7, 8])


def test_each_kind_of_difference_is_named_with_key_and_fields(shop: Shop) -> None:
    shop.table[4] = 41  # an update that the log never brought
    shop.table[12] = 1  # a create
    del shop.table[7]  # a delete
    assert found(shop.compared()) == [("12", "missing", ()), ("4", "different", ("amount",)), ("7", "extra", ())]


@given(
    steps=some.lists(some.tuples(some.sampled_from([C, U, D]), some.integers(1, 12), some.integers(1, 3)), max_size=40),
    lost=some.sets(some.integers(0, 39), max_size=4),
)
@settings(deadline=None)
def test_lost_events_are_found_and_nothing_else(steps: list[tuple[Op, int, int]], lost: set[int]) -> None:
    shop = Shop()
    mirror: Articles = {}
    for number, (op, key, price) in enumerate(steps):
        if (op is C) == (key in shop.table):
            continue
        shop.write(op, key, None if op is D else price)
        if number in lost:
            shop.late.clear()
        elif op is D:
            mirror.pop(key, None)
        else:
            mirror[key] = price
        shop.follow()
    keys = {key for key in shop.table.keys() | mirror.keys() if shop.table.get(key) != mirror.get(key)}
    report = shop.compared()
    assert {int(one.key) for one in report.differences} == keys
    assert not report.unsettled


def test_changes_under_way_are_no_differences(shop: Shop) -> None:
    """Each page is followed by changes that the journal has only later."""
    shop.table[5] = 55  # a loss among them
    shop.write(U, 1, 9)
    moves = iter([(U, 1, 2), (D, 2, None), (C, 20, 5), (U, 9, 8), (U, 1, 3), (C, 2, 4), (U, 1, 7)])

    def meanwhile() -> None:
        move = next(moves, None)
        if move is not None:
            shop.write(*move)

    shop.on_page = meanwhile
    report = shop.compared()
    assert found(report) == [("5", "different", ("amount",))]
    assert report.looks > 1
    assert not report.unsettled


def test_a_key_that_never_stands_still_is_unsettled_and_no_difference(shop: Shop) -> None:
    prices = iter(range(100, 200))
    shop.write(U, 3, next(prices))
    shop.on_page = lambda: shop.write(U, 3, next(prices))
    report = shop.compared(looks=4)
    assert (found(report), report.unsettled, report.looks) == ([], ("3",), 4)


def test_a_row_that_comes_behind_the_reading_is_waited_for_no_longer_than_its_delete_would_take(shop: Shop) -> None:
    """It cannot be asked for, having been seen on no look."""
    shop.table[5] = 55  # a loss, without which nothing would be waited for
    moves = iter([(C, 0, 1), (C, -1, 1)])

    def meanwhile() -> None:
        move = next(moves, None)
        if move is not None:
            shop.write(*move)

    shop.on_page = meanwhile
    shop.on_mark = lambda: shop.write(D, -1) if -1 in shop.table else None
    report = shop.compared()
    assert (found(report), report.unsettled, report.looks) == ([("5", "different", ("amount",))], ("0",), 2)


def test_nothing_is_settled_before_the_journal_has_caught_up(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what an event will change nor what no event has told of yet."""
    shop.write(U, 3, 99)
    shop.write(C, 30, 1)
    shop.write(D, 4)
    monkeypatch.setattr(Shop, "mark", lambda _self: None)
    monkeypatch.setattr(Shop, "is_passed", lambda _self, _mark: False)
    monkeypatch.setattr("bridge.reconcile.compare._WAIT_S", (0.2, 0.2))
    report = shop.compared()
    assert (found(report), report.unsettled) == ([], ("3", "30", "4"))


def test_a_row_that_the_contract_rejects_is_no_difference(shop: Shop) -> None:
    shop.write(U, 3, -1)
    shop.follow()
    report = shop.compared()
    assert (found(report), report.rejected) == ([], 1)


def test_a_change_that_waits_behind_a_dead_letter_is_no_difference(shop: Shop) -> None:
    """To heal it would let the letters, once replayed, bring back what was before it."""
    shop.table |= {3: 33, 4: 44}
    ours, theirs = shop.sides()
    report = compare(ours, theirs, shop, patience=Patience(1, 1), waiting=lambda: frozenset({"3", "9"}))
    assert (found(report), report.rejected) == ([("4", "different", ("amount",))], 1)


def test_a_truncate_ends_every_row(shop: Shop) -> None:
    kept = dict(shop.table)
    shop.table.clear()
    shop.at += 1
    shop.put(raw((T, 0, None), at=shop.at))
    assert shop.compared().is_equal
    shop.table = kept
    assert {one.kind for one in shop.compared().differences} == {"missing"}


def test_a_truncate_under_way_is_no_loss_of_every_row(shop: Shop) -> None:
    """The rows were read before it, and the journal holds it only later."""

    def meanwhile() -> None:
        if shop.table and max(shop.table) == 9:
            shop.table = {20: 5}
            shop.late.clear()
            shop.at += 1
            shop.put(raw((T, 0, None), at=shop.at))
            shop.late.append((C, 20, 5))

    shop.table[1] = 11  # a row that does not agree at once
    shop.on_page = meanwhile
    report = shop.compared()
    assert (found(report), report.unsettled, report.keys) == ([], (), 1)


def test_a_row_whose_events_retention_took_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that had none left, nor one whose events went while it was compared."""
    told = Replayed.told
    shop = Shop(journal=MemoryJournal(retain=Retention(size_bytes=1)))
    for number in range(1, 4):
        shop.write(C, number, number)
        shop.follow()
    shop.journal.tend(shelf.START)
    report = shop.compared()
    assert (found(report), report.not_held, report.keys) == ([], 3, 0)
    shop.write(U, 3, 4)
    shop.follow()
    report = shop.compared()
    assert (found(report), report.not_held, report.keys) == ([], 2, 1)
    shop.table[3] = 9
    monkeypatch.setattr(Replayed, "told", lambda ours, _places: told(ours, np.empty(0, np.int64)))
    report = shop.compared()
    assert (found(report), report.unsettled) == ([], ("3",))


def test_a_row_that_breaks_the_contract_at_the_second_look_is_no_difference(shop: Shop) -> None:
    """The journal holds what it was before: what it is now is a dead letter."""
    shop.write(U, 3, 99)
    while_read, while_awaited = [100], [-1]

    def change(prices: list[int]) -> None:
        while prices:
            shop.write(U, 3, prices.pop())

    shop.on_page = lambda: change(while_read)
    shop.on_mark = lambda: change(while_awaited)
    report = shop.compared()
    assert (found(report), report.unsettled, report.rejected, report.looks) == ([], (), 1, 2)


def say(shop: Shop, op: Op, number: int, price: int | None, *, unsaid: str) -> None:
    """Journal a change that leaves a column out."""
    shop.at += 1
    batch = raw((op, number, price), at=shop.at)
    place = batch.columns.schema.get_field_index(unsaid)
    field = batch.columns.schema.field(place)
    marks = {unsaid: Marks(np.array([0]), np.array([Mark.UNCHANGED], np.uint8), (None,))}
    shop.put(replace(batch, columns=batch.columns.set_column(place, field, pa.nulls(1, field.type)), marks=marks))


def test_what_an_event_leaves_unsaid_is_said_by_the_one_before_it(shop: Shop) -> None:
    """The log leaves large values out that did not change; a loss is still found in what it does say, and in those."""
    for number, price in ((2, 21), (3, 31)):
        shop.table[number] = price
        say(shop, U, number, price, unsaid="name")
    say(shop, U, 5, None, unsaid="amount")
    assert shop.compared().is_equal
    shop.table |= {3: 32, 5: 51}
    assert found(shop.compared()) == [("3", "different", ("amount",)), ("5", "different", ("amount",))]


INSTANT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("old", "new", "is_said"),
    [
        (pa.array([12]), pa.array(["12"], pa.large_string()), True),
        (pa.array(["12"], pa.large_string()), pa.array([12]), True),
        (pa.array([True]), pa.array(["t"], pa.large_string()), False),
        (pa.array([INSTANT]), pa.array(["2026-03-01T12:00:00Z"], pa.large_string()), False),
        (pa.array([INSTANT.replace(tzinfo=None)]), pa.array([INSTANT.replace(hour=11)]), False),
        (pa.array([1.5]), pa.array([1]), False),
    ],
)
def test_a_field_that_had_another_type_is_said_where_both_write_it_alike(
    old: pa.Array,
    new: pa.Array,
    is_said: bool,  # noqa: FBT001  given
) -> None:
    fields = pa.schema([("value", new.type)])
    (before,), (now,) = (
        prints(pa.record_batch({"_key": pa.array(["1"]), "_marks": pa.nulls(1), "value": value}), fields)["value"]
        for value in (old, new)
    )
    assert before == (now if is_said else None)


def test_what_is_unsaid_of_a_row_is_not_said_by_the_one_that_had_its_key_before(shop: Shop) -> None:
    """A row that moves to another key brings its large values unsaid; the row that was deleted there had its own."""
    for price in (71, 72):
        shop.write(D, 7)
        shop.follow()
        shop.table[7] = price
        say(shop, C, 7, price, unsaid="name")
        assert shop.compared().is_equal
    shop.write(D, 8)
    shop.follow()
    shop.table[8] = 81
    say(shop, C, 8, 0, unsaid="amount")
    say(shop, U, 8, 0, unsaid="amount")
    assert shop.compared().is_equal
    shop.table[7] = 73
    assert found(shop.compared()) == [("7", "different", ("amount",))]


@pytest.mark.parametrize("late", ["item", "copy"])
def test_streams_are_compared_once_both_have_arrived(shop: Shop, late: str) -> None:
    """Whichever is behind: what it does not hold yet is no difference."""
    contract, change = shelf.contract(), raw((C, 12, 1), at=shop.at + 1)
    for number, price in shop.table.items():
        shop.put(raw((C, number, price), at=number, stream="copy"))

    def arrive(stream: str) -> bool:
        if stream == late:
            shop.put(replace(change, stream=stream))
        return True

    early = "item" if late == "copy" else "copy"
    shop.put(replace(change, stream=early))
    shop.on_mark = lambda: arrive("item")
    fields = fields_of(contract)
    there = Streamed(Replayed(shop.journal, "copy", fields), fields, arrives=lambda: arrive("copy"))
    ours = Replayed(shop.journal, "item", fields)
    assert found(compare(ours, there, shop, patience=Patience(1, 1))) == []
    shop.put(raw((U, 4, 41), at=50, stream="copy"))
    shop.put(raw((D, 7, None), at=51, stream="copy"))
    late = ""
    again = Replayed(shop.journal, "item", fields)
    report = compare(again, there, shop, patience=Patience(1, 1))
    assert found(report) == [("4", "different", ("amount",)), ("7", "extra", ())]


def test_a_row_whose_events_retention_took_of_the_other_stream_is_not_extra() -> None:
    shop = Shop(journal=MemoryJournal(retain=Retention(size_bytes=1)))
    for number in (1, 2):
        shop.put(raw((C, number, number), at=number, stream="copy"))
    shop.journal.tend(shelf.START)
    for number in (1, 2, 3):
        shop.put(raw((C, number, number), at=number))
    shop.put(raw((C, 3, 4), at=3, stream="copy"))
    fields = fields_of(shelf.contract())
    there = Streamed(Replayed(shop.journal, "copy", fields), fields, arrives=lambda: True)
    report = compare(Replayed(shop.journal, "item", fields), there, shop, patience=Patience(1, 1))
    assert (found(report), report.not_held) == ([("3", "different", ("amount",))], 2)


def test_a_stream_that_does_not_arrive_is_not_compared_with(shop: Shop) -> None:
    fields = fields_of(shelf.contract())
    there = Streamed(Replayed(shop.journal, "copy", fields), fields, arrives=lambda: False)
    with pytest.raises(SourceUnavailable, match="copy does not come up to date"):
        compare(shop.sides()[0], there, shop, patience=Patience(1, 1))


def test_a_reading_that_is_given_up_leaves_nothing_running(shop: Shop) -> None:
    pages = shop.sides()[1].look()
    next(pages)
    pages.close()
    assert shop.is_cancelled
    assert shop.is_ended


def test_a_comparison_that_fails_does_not_wait_for_the_journal(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """To read all of a large one may take a while; neither does it wait for a page that was asked for ahead."""
    ours, theirs = shop.sides()
    blocks = list(shop.journal.read("item"))
    has_begun, is_read = Event(), Event()

    def read(_stream: str, **_from: object) -> Iterator[Block]:
        for _ in range(2_000):
            yield from blocks
            has_begun.set()
        is_read.set()

    def refuse() -> None:
        has_begun.wait()
        raise SourceUnavailable("the table is gone")

    monkeypatch.setattr("bridge.reconcile.replayed._TOGETHER_ROWS", 1)
    monkeypatch.setattr(shop.journal, "read", read)
    shop.on_page = refuse
    with pytest.raises(SourceUnavailable, match="the table is gone"):
        compare(ours, theirs, shop, patience=Patience(1, 1))
    assert shop.is_ended
    assert not is_read.is_set()


def test_corrections_bring_the_stream_back_and_are_declared(shop: Shop) -> None:
    shop.table |= {4: 41, 12: 1}
    del shop.table[7]
    assert [each["corrected"] for each in shop.healed()] == [1, 2]
    assert shop.compared().is_equal
    batch = list(shop.journal.read("item", after=9))
    rows = [row for block in batch for row in block.batch.to_pylist()]
    assert [(row["_op"], row["_key"]) for row in rows] == [(D, "7"), (Op.READ, "12"), (Op.READ, "4")]
    assert [row["_snapshot"] - (1 << 31) for row in rows] == [1, 2, 2]
    assert all('"found_by": "compare"' in row["_note"] for row in rows)
    assert {row["_position"] for row in rows} == {9}  # as new as the newest event, so that no later letter is overtaken


def test_a_key_that_moved_since_it_was_compared_is_left_alone(shop: Shop) -> None:
    """Else an older state would follow a newer one (I5)."""
    del shop.table[7]
    shop.table[4] = 41

    def meanwhile() -> None:
        if 7 not in shop.table:
            shop.write(C, 7, 71)
            shop.write(U, 4, 42)
            shop.follow()

    outcomes = shop.healed(meanwhile=meanwhile)
    assert outcomes[0] == {"stream": "item", "corrected": 0, "moved": ["7"]}
    assert shop.compared().is_equal
    assert sum(each["corrected"] for each in outcomes) <= 1


def test_a_correction_that_is_performed_again_after_a_kill_is_made_once(shop: Shop) -> None:
    shop.table[4] = 41
    assert [each["corrected"] for each in shop.healed()] == [1]
    (request,) = shop.journal.requests(open_only=False)
    last = shop.journal.extents()["item"].last
    again = correct.perform(shop.journal, shelf.judge(), request, now=shelf.START)
    assert again == {"stream": "item", "corrected": 1, "moved": []}
    assert shop.journal.extents()["item"].last == last


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"contract": "0.9.0"}, "contract 0.9.0"),
        ({"after": "x"}, "names the number"),
        ({"rows": "!"}, "cannot be read"),
        ({"gone": [str(number) for number in range(1001)]}, "at most 1000"),
    ],
)
def test_a_correction_that_does_not_fit_is_declined(shop: Shop, change: dict[str, Any], said: str) -> None:
    args = {"stream": "item", "contract": "1.0.0", "after": 9, "rows": "", "gone": ["7"]} | change
    shop.journal.request("stream.correct", args, "a test")
    (request,) = shop.journal.requests()
    perform(Desk(shop.journal, {"item": shelf.judge()}, systems={"item": "shop"}), request)
    (settled,) = shop.journal.requests(open_only=False)
    assert settled.ok is False
    assert said in str(settled.result)
    assert shop.journal.extents()["item"].last == 9
