"""Replay and discard of dead letters: in order, never late, and idempotent over kills."""

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from bridge.contract.document import ContractDocument
from bridge.errors import JournalUnavailable
from bridge.model import Commit, LetterState, Op, RawBatch, StreamPhase, StreamState
from bridge.operate import Desk, perform
from bridge.ports import Request
from bridge.replay import waiting_keys
from bridge.testing import FakeClock, MemoryJournal
from tests import shelf
from tests.shelf import NARROWER, SHAPE, START, raw, told

C, U, D, R, T = Op.CREATE, Op.UPDATE, Op.DELETE, Op.READ, Op.TRUNCATE
MENDED = shelf.contract(version="1.1.0", minimum=-5)
OPEN, REPLAYED, SUPERSEDED, DISCARDED = LetterState


class Office:
    """A journal that fills up under a strict contract, and a desk that works under a mended one."""

    def __init__(self, on_reject: Literal["pass", "hold"] = "pass", *, contract: ContractDocument = MENDED) -> None:
        self.clock = FakeClock()
        self.journal = MemoryJournal(now=self.clock)
        self.on_reject = on_reject
        self.contract = contract
        self.strict = shelf.judge(on_reject=on_reject)
        self.restart()

    def restart(self) -> None:
        """Build everything anew from the journal."""
        state = StreamState("item", StreamPhase.RUNNING, START, "", SHAPE)
        waiting = waiting_keys(self.journal, "item")
        self.judge = shelf.judge(on_reject=self.on_reject, state=state, waiting=waiting, made_for=self.contract)
        self.desk = Desk(self.journal, {"item": self.judge}, now=self.clock)

    def put(self, batch: RawBatch, *, epoch: int = 1) -> None:
        """Journal a batch under the strict contract."""
        ruling = self.strict.check(batch, epoch=epoch)
        events, letters = ruling.events, ruling.letters
        self.journal.append(Commit(events=(events,) if events else (), letters=(letters,) if letters else ()))
        self.strict.settle(ruling)
        self.restart()

    def request(self, kind: str, **args: Any) -> Request:  # noqa: ANN401  JSON
        number = self.journal.request(kind, args, "ann")
        return next(request for request in self.journal.requests() if request.id == number)

    def ask(self, kind: str, **args: Any) -> Mapping[str, Any]:  # noqa: ANN401  JSON
        return self.perform(self.request(kind, **args))

    def perform(self, request: Request) -> Mapping[str, Any]:
        perform(self.desk, request)
        settled = next(one for one in self.journal.requests(open_only=False) if one.id == request.id)
        assert settled.result is not None
        return settled.result

    def states(self) -> list[LetterState]:
        """Every letter's state, in order of id."""
        return [letter.state for letter in self.journal.letters(state=None)]

    def waits(self, number: int) -> bool:
        """Whether a change of this key would wait now."""
        return self.judge.judge(raw((U, number, 1), at=99), epoch=1, now=START).letters is not None


def test_a_mended_letter_becomes_an_event_under_the_new_contract() -> None:
    office = Office()
    office.put(raw((C, 1, -1), (C, 2, 3), at=1))
    assert office.ask("dead.replay", ids=[1]) == {"replayed": 1, "superseded": 0, "still_rejected": 0}
    assert told(office.journal) == [("c", 2, 3), ("c", 1, -1)]
    assert [block.contract for block in office.journal.read("item")] == ["1.0.0", "1.1.0"]
    letter = office.journal.letter(1)
    assert letter is not None
    assert (letter.state, letter.reason) == (REPLAYED, "ann, contract 1.1.0")
    assert [(one.entry.action, one.entry.subject) for one in office.journal.audit_trail()] == [
        ("dead.replay", "item/1")
    ]


def test_a_replayed_letter_keeps_epoch_and_place_of_its_change() -> None:
    """So that its id is the one it always had (I8)."""
    office = Office()
    office.put(raw((C, 1, -1), at=7), epoch=3)
    office.ask("dead.replay", all=True)
    (row,) = shelf.rows(office.journal)
    assert (row["epoch"], row["_position"], row["_tx_index"]) == (3, 7, 0)


def test_a_letter_that_is_wrong_still_stays_open() -> None:
    office = Office(contract=shelf.contract())
    office.put(raw((C, 1, -1), at=1))
    assert office.ask("dead.replay", stream="item")["still_rejected"] == 1
    assert office.states() == [OPEN]


def test_a_letter_of_a_shape_that_the_contract_does_not_fit_stays_open() -> None:
    office = Office()
    office.put(raw((C, 1, -1), at=1))
    letter = office.journal.letter(1)
    assert letter is not None
    assert letter.raw is not None
    office.judge._compiled[SHAPE] = office.judge.compiled(NARROWER)
    assert office.ask("dead.replay", all=True)["still_rejected"] == 1


@pytest.mark.parametrize(
    "later",
    [raw((U, 1, 3), at=2), raw((D, 1, None), at=2), raw((R, 1, 3), at=2, snapshot=4), raw((T, 0, None), at=2)],
    ids=["update", "delete", "re-read", "truncate"],
)
def test_a_letter_that_was_overtaken_is_closed_and_not_emitted_late(later: RawBatch) -> None:
    """I5: a row that was truncated away is not brought back either."""
    office = Office()
    office.put(raw((C, 1, -1), at=1))
    office.put(later)
    before = told(office.journal)
    assert office.ask("dead.replay", all=True) == {"replayed": 0, "superseded": 1, "still_rejected": 0}
    assert told(office.journal) == before
    assert office.states() == [SUPERSEDED]


def test_a_change_of_another_key_overtakes_nothing() -> None:
    office = Office()
    office.put(raw((C, 1, -1), at=1))
    office.put(raw((C, 2, 3), (T, 0, None), (C, 2, -1), at=2))
    assert office.ask("dead.replay", ids=[2])["replayed"] == 1
    assert told(office.journal)[-1] == ("c", 2, -1)


def test_a_later_epoch_overtakes_whatever_its_positions() -> None:
    """A restored server counts from below again."""
    office = Office()
    office.put(raw((C, 1, -1), at=50), epoch=1)
    office.put(raw((R, 1, 3), at=2, snapshot=1), epoch=2)
    assert office.ask("dead.replay", all=True)["superseded"] == 1


def test_letters_of_one_key_are_replayed_in_order() -> None:
    office = Office()
    office.put(raw((C, 1, -1), (U, 1, -2), (U, 1, -3), at=1))
    assert office.ask("dead.replay", ids=[3, 1, 2])["replayed"] == 3
    assert told(office.journal) == [("c", 1, -1), ("u", 1, -2), ("u", 1, -3)]


def test_with_pass_a_letter_may_go_before_an_older_one_which_then_is_overtaken() -> None:
    office = Office()
    office.put(raw((C, 1, -9), (U, 1, -2), at=1))
    assert office.ask("dead.replay", all=True) == {"replayed": 1, "superseded": 0, "still_rejected": 1}
    office.contract = shelf.contract(version="1.2.0", minimum=-10)
    office.restart()
    assert office.ask("dead.replay", all=True)["superseded"] == 1
    assert told(office.journal) == [("u", 1, -2)]


def test_the_key_that_counts_is_the_one_under_the_present_contract() -> None:
    """A letter whose key could not be told when it was rejected has one when it is mended."""
    office = Office()
    office.put(raw((C, 1, -1), at=1))
    letter = office.journal.letter(1)
    assert letter is not None
    office.journal._letters[1] = letter.__class__(
        letter.id,
        letter.stream,
        letter.epoch,
        letter.contract,
        None,
        letter.event_id,
        letter.breaches,
        letter.state,
        letter.created_at,
        raw=letter.raw,
    )
    office.put(raw((U, 1, 3), at=2))
    assert office.ask("dead.replay", all=True)["superseded"] == 1


def test_letters_of_a_keyless_stream_are_all_emitted_but_those_truncated_away() -> None:
    keyless = shelf.contract(version="1.1.0", minimum=-5, has_key=False)
    office = Office(contract=keyless)
    office.strict = shelf.judge(made_for=shelf.contract(has_key=False))
    office.put(raw((C, 1, -1), at=1))
    office.put(raw((T, 0, None), at=2))
    office.put(raw((C, 1, -2), (C, 1, -2), at=3))
    assert office.ask("dead.replay", all=True) == {"replayed": 2, "superseded": 1, "still_rejected": 0}


# -- hold


def test_with_hold_a_replay_lets_go_what_waited_behind_in_order() -> None:
    office = Office("hold")
    office.put(raw((C, 1, -1), (U, 1, 2), (C, 2, 9), at=1))
    office.put(raw((U, 1, 3), at=2))
    assert office.waits(1)
    assert office.ask("dead.replay", ids=[1])["replayed"] == 3
    assert told(office.journal) == [("c", 2, 9), ("c", 1, -1), ("u", 1, 2), ("u", 1, 3)]
    assert not office.waits(1)


def test_with_hold_a_waiting_letter_is_not_replayed_before_the_one_it_waits_for() -> None:
    """I5: asked for by its own number too."""
    office = Office("hold")
    office.put(raw((C, 1, -9), (U, 1, 2), at=1))
    assert office.ask("dead.replay", ids=[2]) == {"replayed": 0, "superseded": 0, "still_rejected": 1}
    assert office.states() == [OPEN, OPEN]


def test_with_hold_what_is_wrong_in_between_holds_the_rest() -> None:
    office = Office("hold")
    office.put(raw((C, 1, -1), (U, 1, 2), (U, 1, -9), (U, 1, 4), at=1))
    assert office.ask("dead.replay", all=True)["replayed"] == 2
    assert told(office.journal) == [("c", 1, -1), ("u", 1, 2)]
    assert office.states() == [REPLAYED, REPLAYED, OPEN, OPEN]
    assert office.waits(1)


def test_with_hold_a_discard_lets_go_what_waited_behind() -> None:
    office = Office("hold")
    office.put(raw((C, 1, -9), (U, 1, 2), at=1))
    assert office.ask("dead.discard", ids=[1], reason="a test row") == {"discarded": 1, "replayed": 1}
    assert told(office.journal) == [("u", 1, 2)]
    assert not office.waits(1)


# -- discard


def test_a_discard_needs_a_reason() -> None:
    office = Office()
    office.put(raw((C, 1, -1), at=1))
    assert "reason" in office.ask("dead.discard", ids=[1], reason="  ")["error"]
    assert office.states() == [OPEN]


def test_a_discarded_letter_says_who_and_why() -> None:
    office = Office()
    office.put(raw((C, 1, -1), (C, 2, -1), at=1))
    assert office.ask("dead.discard", ids=[2], reason="a test row") == {"discarded": 1}
    letter = office.journal.letter(2)
    assert letter is not None
    assert (letter.state, letter.reason) == (DISCARDED, "ann: a test row")
    assert [(one.entry.subject, one.entry.reason) for one in office.journal.audit_trail()] == [("item/2", "a test row")]


@pytest.mark.parametrize(
    ("args", "why"),
    [({"ids": [9]}, "dead letter 9 is not open"), ({}, "no letters were named")],
    ids=["unknown", "none"],
)
@pytest.mark.parametrize("kind", ["dead.replay", "dead.discard"])
def test_letters_that_are_not_there_are_declined(kind: str, args: dict[str, Any], why: str) -> None:
    assert Office().ask(kind, reason="a test", **args)["error"] == why


def test_a_letter_that_was_settled_before_is_declined() -> None:
    office = Office()
    office.put(raw((C, 1, -1), at=1))
    office.ask("dead.replay", ids=[1])
    office.clock.advance(1)
    assert office.ask("dead.replay", ids=[1])["error"] == "dead letter 1 is not open"


def test_letters_of_a_stream_that_is_gone_can_be_discarded_and_not_replayed() -> None:
    office = Office()
    office.put(raw((C, 1, -1), at=1))
    office.desk = Desk(office.journal, {})
    assert "not configured any more" in office.ask("dead.replay", all=True)["error"]
    assert office.ask("dead.discard", all=True, reason="gone") == {"discarded": 1}


# -- kills


@pytest.mark.parametrize("kind", ["dead.replay", "dead.discard"])
@pytest.mark.parametrize("on_reject", ["pass", "hold"])
@pytest.mark.parametrize("stored", [False, True], ids=["lost", "stored"])
@pytest.mark.parametrize("by", ["ids", "all"])
def test_a_request_that_is_cut_off_anywhere_ends_as_if_it_was_not(
    kind: str, on_reject: Literal["pass", "hold"], *, stored: bool, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I4, whether the commit went in or not: each letter is settled once and each event is there once."""

    def fill() -> Office:
        office = Office(on_reject)
        office.put(raw((C, 1, -1), (U, 1, 2), (C, 2, -2), (U, 2, 3), at=1))
        return office

    broken = {"pass": [1, 2], "hold": [1, 3]}[on_reject]
    args: dict[str, Any] = {"reason": "a test", **({"ids": broken} if by == "ids" else {"all": True})}
    whole = fill()
    whole.ask(kind, **args)
    for cut in range(5):
        office = fill()
        request, real, left = office.request(kind, **args), office.journal.append, cut

        def append(commit: Commit, real: Any = real) -> Any:  # noqa: ANN401  as the port
            nonlocal left
            left -= 1
            given = real(commit) if left >= 0 or stored else None
            if left < 0:
                raise JournalUnavailable("the process is gone")
            return given

        with monkeypatch.context() as killed:
            killed.setattr(office.journal, "append", append)
            try:
                office.perform(request)
            except JournalUnavailable:
                pass
            else:
                continue
        office.restart()
        office.perform(request)
        assert sorted(told(office.journal)) == sorted(told(whole.journal)), cut
        assert office.states() == whole.states(), cut
        assert [office.waits(1), office.waits(2)] == [whole.waits(1), whole.waits(2)]
