"""What becomes of a raw batch: every row is an event, a dead letter or parked (I3)."""

from dataclasses import replace

import pytest

from bridge.judge import HELD, Ruling, describe_change, judged
from bridge.model import Op, RawBatch, Shape, StreamPhase, StreamState
from tests import shelf
from tests.shelf import NARROWER, SHAPE, START, WIDER, gap, raw

C, U, D, R = Op.CREATE, Op.UPDATE, Op.DELETE, Op.READ


def ids(ruling: Ruling) -> list[int]:
    """The accepted rows by id, in order."""
    return ruling.events.batch.column("id").to_pylist() if ruling.events else []


def lettered(ruling: Ruling) -> list[tuple[str | None, str]]:
    """Key and first broken rule of each rejected row, in order."""
    if ruling.letters is None:
        return []
    rejected = ruling.letters.rejected
    return [(key, broken[0].rule) for key, broken in zip(rejected.keys, rejected.breaches, strict=True)]


def state(phase: StreamPhase = StreamPhase.RUNNING, shape: Shape | None = SHAPE) -> StreamState:
    return StreamState("item", phase, START, "", shape)


def test_a_clean_batch_becomes_events() -> None:
    ruling = shelf.judge(state=state()).judge(raw((C, 1, 5), (U, 1, 6)), epoch=3, now=START)
    assert ids(ruling) == [1, 1]
    assert (ruling.letters, ruling.parked, ruling.state) == (None, None, None)
    assert ruling.events is not None
    assert (ruling.events.epoch, ruling.events.contract, ruling.valid, ruling.rejected) == (3, "1.0.0", 2, 0)


def test_a_broken_row_becomes_a_letter_and_the_others_events() -> None:
    ruling = shelf.judge(state=state()).judge(raw((C, 1, 5), (C, 2, -1), (C, 3, 5)), epoch=1, now=START)
    assert ids(ruling) == [1, 3]
    assert lettered(ruling) == [("2", "minimum")]
    assert (ruling.valid, ruling.rejected) == (2, 1)


def test_the_first_shape_is_accepted() -> None:
    ruling = shelf.judge().judge(raw((C, 1, 5)), epoch=1, now=START)
    assert ruling.state == StreamState("item", StreamPhase.RUNNING, START, "", SHAPE)


@pytest.mark.parametrize(
    ("shape", "why"),
    [(WIDER, "column colour (text) is new"), (NARROWER, "column amount is gone")],
    ids=["wider", "narrower"],
)
def test_rows_of_another_shape_are_parked_whole(shape: Shape, why: str) -> None:
    """A table that changed waits for a person, also where the contract would still fit."""
    batch = raw((C, 1, 5), shape=shape)
    ruling = shelf.judge(state=state()).judge(batch, epoch=2, now=START)
    assert ruling.events is None
    assert ruling.letters is None
    assert ruling.parked is not None
    assert (ruling.parked.epoch, ruling.parked.raw) == (2, batch)
    assert ruling.state is not None
    assert (ruling.state.phase, ruling.state.shape) == (StreamPhase.DRIFT, SHAPE)  # the accepted one
    assert why in ruling.state.why


def test_a_first_shape_that_the_contract_does_not_fit_is_drift() -> None:
    ruling = shelf.judge().judge(raw((C, 1, 5), shape=NARROWER), epoch=1, now=START)
    assert ruling.parked is not None
    assert ruling.state is not None
    assert (ruling.state.phase, ruling.state.shape) == (StreamPhase.DRIFT, None)
    assert "item.odcs.yaml" in ruling.state.why


@pytest.mark.parametrize("phase", [StreamPhase.PAUSED, StreamPhase.DRIFT])
@pytest.mark.parametrize("batch", [raw((C, 1, -1)), gap(at=4)], ids=["rows", "gap"])
def test_a_stream_that_stands_still_parks_everything(phase: StreamPhase, batch: RawBatch) -> None:
    """Order is kept: a gap stays where it was declared."""
    ruling = shelf.judge(state=state(phase)).judge(batch, epoch=1, now=START)
    assert ruling.parked is not None
    assert ruling.parked.raw is batch
    assert (ruling.events, ruling.letters, ruling.valid, ruling.rejected) == (None, None, 0, 0)


def test_a_gap_becomes_an_event_and_is_not_counted() -> None:
    ruling = shelf.judge().judge(gap(at=4), epoch=2, now=START)
    assert ruling.events is not None
    assert ruling.events.batch.column("_op").to_pylist() == [Op.GAP]
    assert ruling.events.batch.column("id").to_pylist() == [None]
    assert (ruling.state, ruling.valid, ruling.rejected) == (None, 0, 0)


def test_a_truncate_becomes_an_event_without_fields() -> None:
    ruling = shelf.judge(state=state()).judge(raw((Op.TRUNCATE, 0, None)), epoch=1, now=START)
    assert ruling.events is not None
    assert ruling.events.batch.select(["_op", "_key", "id"]).to_pylist() == [
        {"_op": Op.TRUNCATE, "_key": None, "id": None}
    ]


def test_a_keyless_stream_judges_without_keys() -> None:
    """Nothing can wait behind a row that has no key."""
    keyless = shelf.contract(has_key=False)
    ruling = shelf.judge(state=state(), made_for=keyless, on_reject="hold").judge(
        raw((C, 1, -1), (C, 1, 5), (C, 1, 5)), epoch=1, now=START
    )
    assert ids(ruling) == [1, 1]
    assert lettered(ruling) == [(None, "minimum")]
    assert ruling.waits == frozenset()


def test_with_pass_later_changes_of_a_rejected_key_flow_on() -> None:
    ruling = shelf.judge(state=state()).judge(raw((C, 1, -1), (U, 1, 5), (U, 1, 6)), epoch=1, now=START)
    assert ids(ruling) == [1, 1]
    assert ruling.waits == frozenset()


def test_with_hold_later_changes_of_the_batch_wait_and_earlier_ones_do_not() -> None:
    """I5 within one batch."""
    judge = shelf.judge(state=state(), on_reject="hold")
    ruling = judge.judge(raw((C, 1, 5), (U, 1, -1), (C, 2, 5), (U, 1, 6), (D, 1, None)), epoch=1, now=START)
    assert ids(ruling) == [1, 2]
    assert lettered(ruling) == [("1", "minimum"), ("1", "held"), ("1", "held")]
    assert ruling.waits == {"1"}


def test_with_hold_changes_of_later_batches_wait_once_the_letter_is_stored() -> None:
    """I5 across batches: nothing counts before it is durable."""
    judge = shelf.judge(state=state(), on_reject="hold")
    ruling = judge.judge(raw((C, 1, -1)), epoch=1, now=START)
    assert ids(judge.judge(raw((U, 1, 5)), epoch=1, now=START)) == [1]
    judge.settle(ruling)
    assert lettered(judge.judge(raw((U, 1, 5), (C, 2, 5)), epoch=1, now=START)) == [("1", "held")]


def test_a_row_that_only_waits_is_neither_valid_nor_rejected() -> None:
    """One bad row must not spend the error budget of everything behind it."""
    judge = shelf.judge(state=state(), on_reject="hold", waiting=frozenset({"1"}))
    ruling = judge.judge(raw((U, 1, 5), (U, 1, 6), (U, 2, 6)), epoch=1, now=START)
    assert (ruling.valid, ruling.rejected) == (1, 0)
    assert ruling.letters is not None
    assert ruling.letters.rejected.breaches == ((HELD,), (HELD,))


def test_keys_flow_again_when_nothing_is_before_them() -> None:
    judge = shelf.judge(state=state(), on_reject="hold", waiting=frozenset({"1", "2"}))
    judge.wait_behind(frozenset({"2"}))
    assert ids(judge.judge(raw((U, 1, 5), (U, 2, 5)), epoch=1, now=START)) == [1]


def test_without_hold_nobody_waits() -> None:
    judge = shelf.judge(state=state(), on_reject="pass", waiting=frozenset({"1"}))
    assert ids(judge.judge(raw((U, 1, 5)), epoch=1, now=START)) == [1]
    assert not judge.holds


def test_a_letter_itself_does_not_wait() -> None:
    judge = shelf.judge(state=state(), on_reject="hold", waiting=frozenset({"1"}))
    assert ids(judge.check(raw((U, 1, 5)), epoch=1, alone=True)) == [1]


def test_each_row_is_in_exactly_one_part() -> None:
    """I3, with rows that are accepted, rejected and held."""
    batch = raw(*[(U, number % 5, -1 if number % 7 == 0 else number) for number in range(50)])
    ruling = shelf.judge(state=state(), on_reject="hold").judge(batch, epoch=1, now=START)
    assert ruling.events is not None
    assert ruling.letters is not None
    indexes = [
        *ruling.events.batch.column("_tx_index").to_pylist(),
        *ruling.letters.rejected.raw.changes.column("_tx_index").to_pylist(),
    ]
    assert sorted(indexes) == list(range(50))


def test_a_change_of_shape_is_described() -> None:
    renamed = replace(SHAPE, table="shop.article")
    turned = replace(SHAPE, columns=SHAPE.columns[::-1])
    assert describe_change(SHAPE, renamed) == "table shop.article changed: it was called shop.item"
    assert describe_change(SHAPE, turned) == "table shop.item changed: its columns stand in another order"
    retyped = replace(SHAPE, columns=(replace(SHAPE.columns[0], type="numeric"), *SHAPE.columns[1:]))
    assert describe_change(SHAPE, retyped) == "table shop.item changed: column id was int64 and is numeric"


def test_streams_without_judged_rows_are_not_counted() -> None:
    assert judged({"item": Ruling(valid=2, rejected=1), "order": Ruling()}) == {"item": (2, 1)}
