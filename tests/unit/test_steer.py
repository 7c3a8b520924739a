"""What operators ask of sinks: switches, replays and delivery letters, each with its audit entry."""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import pytest

from bridge.model import Block, LetterState
from bridge.operate import Desk, conclude, perform
from bridge.parcel import Delivered, NewUndelivered, Progress, Switches
from bridge.ports import Request
from bridge.testing import MemoryJournal
from tests import journal_samples as sample

SINKS = {"crm": ("orders",), "hook": ("orders", "customers")}


@pytest.fixture
def journal() -> MemoryJournal:
    journal = MemoryJournal()
    journal.append(sample.commit(sample.events(count=5), at=1))
    return journal


def ask(journal: MemoryJournal, kind: str, args: Mapping[str, Any], desk: Desk | None = None) -> Request:
    """The request, settled."""
    number = journal.request(kind, args, "cli:ann")
    (request,) = journal.requests()
    perform(desk or Desk(journal, {}, sinks=SINKS), request)
    return next(one for one in journal.requests(open_only=False) if one.id == number)


def refusal(journal: MemoryJournal, kind: str, args: Mapping[str, Any]) -> str:
    """Why the request was declined."""
    settled = ask(journal, kind, args)
    assert settled.ok is False
    return str((settled.result or {})["error"])


def switches(journal: MemoryJournal) -> Switches:
    return Switches.load(journal.kept("sink").get("crm"))


def undelivered(journal: MemoryJournal, *numbers: int, sink: str = "crm") -> None:
    """Delivery letters of these events."""

    def block(number: int) -> Block:
        return next(iter(journal.read("orders", after=number - 1, limit=1)))

    new = [NewUndelivered(block(one), f"orders:{one}", f"N{one}", "HTTP 500", 3, sample.START) for one in numbers]
    journal.record([Delivered(sink, undelivered=tuple(new))])


def trail(journal: MemoryJournal) -> list[tuple[str, str, str]]:
    entries = [audited.entry for audited in journal.audit_trail()]
    return [(entry.actor, entry.action, entry.subject) for entry in entries]


def test_a_sink_is_paused_with_its_reason_and_resumed(journal: MemoryJournal) -> None:
    assert ask(journal, "sink.pause", {"sink": "crm", "reason": "their upgrade"}).ok
    assert switches(journal).paused
    assert switches(journal).why == "paused by cli:ann: their upgrade"
    assert ask(journal, "sink.resume", {"sink": "crm"}).ok
    assert not switches(journal).paused
    assert switches(journal).resumed_at is not None
    assert trail(journal) == [("cli:ann", "sink.pause", "crm"), ("cli:ann", "sink.resume", "crm")]


@pytest.mark.parametrize(("side", "kept"), [("open", "open"), ("closed", "closed"), ("none", None)])
def test_a_breaker_is_forced(journal: MemoryJournal, side: str, kept: str | None) -> None:
    journal.keep("sink", {"crm": Switches(paused=True, force="open").dump()})
    assert ask(journal, "sink.breaker", {"sink": "crm", "force": side}).ok
    assert switches(journal).force == kept
    assert switches(journal).paused, "the other switches stay"


@pytest.mark.parametrize("kind", ["sink.pause", "sink.resume", "sink.replay", "sink.breaker", "sink.test"])
def test_a_sink_that_is_not_there_is_named_with_those_that_are(journal: MemoryJournal, kind: str) -> None:
    assert refusal(journal, kind, {"sink": "crn", "force": "open"}) == "there is no sink 'crn'"
    assert journal.kept("sink") == {}


def test_a_range_is_replayed_as_far_as_it_is_kept(journal: MemoryJournal) -> None:
    settled = ask(journal, "sink.replay", {"sink": "crm", "stream": "orders", "first": 3, "last": 99})
    assert (settled.result or {})["last"] == 5
    (job,) = journal.kept("replay").values()
    assert (job["sink"], job["first"], job["last"], job["actor"]) == ("crm", 3, 5, "cli:ann")


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"stream": "customers", "first": 1}, "sink crm is not sent stream 'customers'"),
        ({"stream": "orders", "first": 6}, "no event has a number from 6 to 6"),
        ({"stream": "orders", "first": 4, "last": 2}, "no event has a number from 4 to 2"),
        ({"stream": "orders", "first": "x"}, "first and last are sequence numbers"),
    ],
)
def test_a_replay_of_nothing_is_declined(journal: MemoryJournal, args: Mapping[str, Any], why: str) -> None:
    assert refusal(journal, "sink.replay", {"sink": "crm", **args}) == why
    assert journal.kept("replay") == {}


def test_only_what_is_not_configured_is_forgotten(journal: MemoryJournal) -> None:
    journal.record([Delivered("old", {"orders": Progress(3)}, kept={("delivery", "old"): {"gone": None}})])
    assert refusal(journal, "sink.forget", {"sink": "crm"}) == "sink crm is configured"
    journal.record([Delivered("crm", {"orders": Progress(3), "returns": Progress(2)})])
    assert (ask(journal, "sink.forget", {"sink": "crm"}).result or {})["streams"] == ["returns"]
    assert journal.subscribers().pop("crm") == {"orders": Progress(3)}
    assert refusal(journal, "sink.forget", {"sink": "crm"}) == "sink crm is configured"
    journal.forget_subscriber("crm")
    assert refusal(journal, "sink.forget", {"sink": "api:ann:x"}) == "there is no sink api:ann:x"
    assert ask(journal, "sink.forget", {"sink": "old"}).ok
    assert journal.subscribers() == {}
    assert journal.kept("delivery") == {}


def test_a_cursor_of_the_door_is_forgotten_whole(journal: MemoryJournal) -> None:
    journal.advance("api:former:nightly", {"orders": 2, "customers": 0})
    assert refusal(journal, "sink.forget", {"sink": "api:former:nightly"}) == "there is no sink api:former:nightly"
    named = {"principal": "former", "name": "nightly"}
    assert (ask(journal, "cursor.forget", named).result or {})["streams"] == ["customers", "orders"]
    assert "api:former:nightly" not in journal.subscribers()
    assert refusal(journal, "cursor.forget", named) == "former has no cursor 'nightly'"
    assert trail(journal) == [("cli:ann", "cursor.forget", "former/nightly")]


def test_delivery_letters_are_sent_again_each_by_a_replay_of_its_own(journal: MemoryJournal) -> None:
    undelivered(journal, 2, 4)
    settled = ask(journal, "dead.replay", {"ids": ["d2", "d1"]})
    assert (settled.result or {})["sent_again"] == 2
    assert {job["letter"]: job["first"] for job in journal.kept("replay").values()} == {1: 2, 2: 4}
    assert journal.undelivered_counts() == {"crm": 2}, "they are settled when they are delivered"


def test_all_letters_of_a_sink_are_sent_again(journal: MemoryJournal) -> None:
    undelivered(journal, 2)
    undelivered(journal, 3, sink="hook")
    ask(journal, "dead.replay", {"sink": "hook"})
    assert [job["sink"] for job in journal.kept("replay").values()] == ["hook"]


@pytest.mark.parametrize("wrong", ["d9", "dx", "x", "d", "-1"])
def test_an_id_that_none_has_is_declined(journal: MemoryJournal, wrong: str) -> None:
    assert refusal(journal, "dead.replay", {"ids": [wrong]})


def test_a_delivery_letter_is_discarded_with_a_reason(journal: MemoryJournal) -> None:
    undelivered(journal, 2)
    assert refusal(journal, "dead.discard", {"ids": ["d1"]})
    assert ask(journal, "dead.discard", {"ids": ["d1"], "reason": "a test order"}).ok
    (letter,) = journal.undelivered(state=None)
    assert (letter.state, letter.reason) == (LetterState.DISCARDED, "cli:ann: a test order")
    assert trail(journal) == [("cli:ann", "dead.discard", "crm/d1")]


def test_a_letter_of_a_sink_that_is_gone_is_not_sent_again(journal: MemoryJournal) -> None:
    undelivered(journal, 2, sink="old")
    assert refusal(journal, "dead.replay", {"ids": ["d1"]}) == "sink old is not configured any more"


def test_a_test_event_is_awaited(journal: MemoryJournal) -> None:
    answer: Future[dict[str, Any]] = Future()
    desk = Desk(journal, {}, sinks=SINKS, test=lambda _sink: answer)
    journal.request("sink.test", {"sink": "crm"}, "cli:ann")
    (request,) = journal.requests()
    awaited = perform(desk, request)
    assert awaited is not None
    assert not conclude(desk, awaited)
    answer.set_result({"ok": True, "detail": ""})
    assert conclude(desk, awaited)
    assert journal.requests(open_only=False)[-1].ok
    assert trail(journal) == [("cli:ann", "sink.test", "crm")]


def test_a_test_event_that_a_stop_cuts_off_is_settled_too(journal: MemoryJournal) -> None:
    answer: Future[dict[str, Any]] = Future()
    journal.request("sink.test", {"sink": "crm"}, "cli:ann")
    desk = Desk(journal, {}, sinks=SINKS, test=lambda _sink: answer)
    awaited = perform(desk, journal.requests()[0])
    answer.cancel()
    assert awaited is not None
    assert conclude(desk, awaited)
    assert (journal.requests(open_only=False)[-1].result or {})["ok"] is False
