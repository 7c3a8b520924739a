"""Runs that operators start and cancel: done when the journal says so, declined when there is nothing to do."""

from dataclasses import replace
from typing import Any

from bridge.extracted import Extracted, Run, RunKind
from bridge.model import Commit, Position
from bridge.operate import Desk, conclude, perform
from bridge.polls import Polling, polled_by
from bridge.ports import Request
from bridge.testing import FakeClock, MemoryJournal

CLOCK = FakeClock()
RUN = Run("erp/views", 4, "orders", "run", "every 5m", "done", CLOCK(), ended_at=CLOCK())


class Poller:
    """What polls a system, as a desk sees it."""

    name = "erp/views"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ask(self, stream: str, kind: RunKind, *, actor: str) -> None:
        self.asked.append(f"{kind} of {stream} for {actor}")

    def cancel(self, stream: str, *, actor: str) -> None:
        self.asked.append(f"no {stream} for {actor}")


class Office:
    """A desk over a poller, and its journal."""

    def __init__(self) -> None:
        self.journal, self.poller, self.at = MemoryJournal(now=CLOCK), Poller(), 0
        self.desk = Desk(self.journal, {}, polled={"orders": self.poller}, now=CLOCK)

    def say(self, *runs: Run, wishes: dict[str, Any] | None = None) -> None:
        """What the source's next window tells the journal."""
        self.at += 1
        state = {"timetable": {"wishes": wishes or {}}}
        position = Position(1, (self.at,))
        self.journal.append(Commit("erp/views", position, state, extracted=Extracted(runs=runs)))

    def ask(self, act: str, **args: Any) -> tuple[Request, Any]:  # noqa: ANN401  JSON
        number = self.journal.request(act, args, "cli:ann")
        request = next(one for one in self.journal.requests() if one.id == number)
        return request, perform(self.desk, request)

    def outcome(self, request: Request) -> Any:  # noqa: ANN401  JSON
        return next(one for one in self.journal.requests(open_only=False) if one.id == request.id).result


def test_a_run_that_was_asked_for_is_done_when_it_is_on_record() -> None:
    office = Office()
    office.say(RUN)
    request, awaited = office.ask("run.start", stream="orders", kind="full")
    assert office.poller.asked == ["full of orders for cli:ann"]
    assert not conclude(office.desk, awaited)
    began = replace(RUN, number=5, kind="full", cause="asked for by cli:ann", state="running")
    office.say(began)
    assert conclude(office.desk, awaited)
    assert office.outcome(request) == {"stream": "orders", "run": 5, "kind": "full"}
    assert [one.entry.action for one in office.journal.audit_trail()] == ["run.start"]


def test_a_run_that_has_to_wait_is_said_to() -> None:
    office = Office()
    request, awaited = office.ask("run.start", stream="orders")
    office.say(wishes={"orders": {"kind": "run", "cause": "asked for by cli:ann"}})
    assert conclude(office.desk, awaited)
    assert office.outcome(request) == {"stream": "orders", "kind": "run", "waits": "until it may begin"}


def test_a_run_is_cancelled_when_it_is_over_and_none_waits() -> None:
    office = Office()
    running = replace(RUN, state="running", ended_at=None)
    office.say(running, wishes={"orders/sweep": {"kind": "sweep", "cause": "cron"}})
    request, awaited = office.ask("run.cancel", stream="orders")
    assert office.poller.asked == ["no orders for cli:ann"]
    assert not conclude(office.desk, awaited)
    office.say(replace(running, state="cancelled", ended_at=CLOCK()), wishes={"orders/sweep": {"kind": "sweep"}})
    assert not conclude(office.desk, awaited), "a sweep waits still"
    office.say()
    assert conclude(office.desk, awaited)
    assert office.outcome(request) == {"stream": "orders", "cancelled": 4}


def test_what_cannot_be_done_is_declined() -> None:
    office = Office()
    office.say(RUN)
    for kind, args in (
        ("run.start", {"stream": "nowhere"}),
        ("run.start", {"stream": "orders", "kind": "half"}),
        ("run.cancel", {"stream": "orders"}),
    ):
        request, awaited = office.ask(kind, **args)
        assert awaited is None
        assert "error" in office.outcome(request), kind
    assert office.poller.asked == []


def test_streams_find_what_polls_them() -> None:
    poller: Polling = Poller()
    assert polled_by([(poller, ["orders", "items"]), (object(), ["log"])]) == {"orders": poller, "items": poller}
