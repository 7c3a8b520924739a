"""What operators decide about alarms: acknowledged, silenced, planned; audited, and declined where it is wrong."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from bridge.alarm import book
from bridge.alarm.judge import Finding
from bridge.alarm.machine import Alarm, step
from bridge.config.alarms import AlarmsConfig
from bridge.operate import Desk, perform
from bridge.ports import Request
from bridge.testing import FakeClock, MemoryJournal

DOWN = Finding("component", "source:erp", "it is down", ("orders",), ("system:erp",))
PROMPT = AlarmsConfig.model_validate({"group_s": 0, "rules": {"component": {"for_s": 0}}})


class Operating:
    """A journal with one alarm that fires, and a clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.journal = MemoryJournal(now=self.clock)
        (self.alarm,) = step({}, [DOWN], now=self.clock(), config=PROMPT).alarms.values()
        self.keep(self.alarm)

    def keep(self, alarm: Alarm) -> None:
        self.journal.keep(book.KIND, {f"alarm/{alarm.id}": msgspec.to_builtins(alarm)})

    def ask(self, kind: str, **args: Any) -> Request:  # noqa: ANN401  what an operator may send
        number = self.journal.request(kind, args, "cli:ann")
        (request,) = self.journal.requests()
        perform(Desk(self.journal, {}, now=self.clock), request)
        return next(one for one in self.journal.requests(open_only=False) if one.id == number)

    def done(self, kind: str, **args: Any) -> Mapping[str, Any]:  # noqa: ANN401  as above
        settled = self.ask(kind, **args)
        assert settled.ok, settled.result
        return settled.result or {}

    def later(self, **spans: float) -> str:
        return (self.clock() + timedelta(**spans)).isoformat()

    def audited(self) -> list[tuple[str, str]]:
        return [(each.entry.action, each.entry.subject) for each in self.journal.audit_trail()]


@pytest.fixture
def operating() -> Operating:
    return Operating()


def test_an_alarm_is_acknowledged_by_the_beginning_of_its_id(operating: Operating) -> None:
    operating.done("alarm.ack", alarm=operating.alarm.id[:4], note="the DBA is on it")
    ack = book.alarms(operating.journal)[operating.alarm.id].acknowledged
    assert ack is not None
    assert (ack.by, ack.note, ack.at) == ("cli:ann", "the DBA is on it", operating.clock())
    assert operating.audited() == [("alarm.ack", f"alarm/{operating.alarm.id}")]


def test_acknowledgements_of_alarms_that_are_forgotten_go_with_the_next(operating: Operating) -> None:
    operating.journal.keep("acknowledgement", {"gone": {"by": "cli:bob", "at": operating.later()}})
    operating.done("alarm.ack", alarm=operating.alarm.id)
    assert book.acknowledgements(operating.journal).keys() == {operating.alarm.id}


def test_a_silence_has_an_end_and_a_reason_and_can_be_ended(operating: Operating) -> None:
    made = operating.done("alarm.silence", of="system:erp", reason="a move", ends_at=operating.later(hours=2))
    ((number, (kind, quiet)),) = book.quiets(operating.journal).items()
    assert (number, kind) == (made["silence"], "silence")
    assert quiet.covers(operating.alarm, operating.clock())
    operating.done("alarm.unsilence", silence=number)
    assert book.quiets(operating.journal) == {}
    assert [action for action, _ in operating.audited()] == ["alarm.silence", "alarm.unsilence"]


def test_a_silence_may_name_one_alarm(operating: Operating) -> None:
    of = operating.alarm.id[:5]
    made = operating.done("alarm.silence", of=of, reason="known", ends_at=operating.later(hours=2))
    assert made["of"] == operating.alarm.id


def test_maintenance_begins_later(operating: Operating) -> None:
    starts, ends = operating.later(hours=1), operating.later(hours=2)
    operating.done("alarm.maintenance", of="*", reason="a move", starts_at=starts, ends_at=ends)
    ((_, (kind, quiet)),) = book.quiets(operating.journal).items()
    assert kind == "maintenance"
    assert not quiet.covers(operating.alarm, operating.clock())
    assert quiet.covers(operating.alarm, datetime.fromisoformat(starts))


def test_silences_that_ended_long_ago_go_with_the_next(operating: Operating) -> None:
    operating.done("alarm.silence", of="*", reason="old", ends_at=operating.later(hours=1))
    operating.clock.advance(31 * 86_400)
    operating.done("alarm.silence", of="*", reason="new", ends_at=operating.later(hours=1))
    assert [quiet.reason for _, quiet in book.quiets(operating.journal).values()] == ["new"]


@pytest.mark.parametrize(
    ("kind", "args", "why"),
    [
        ("alarm.ack", {"alarm": "nowhere"}, "no alarm"),
        ("alarm.ack", {}, "no alarm"),
        ("alarm.silence", {"of": "*", "ends_at": "2027-01-01T00:00:00Z"}, "needs a reason"),
        ("alarm.silence", {"of": "*", "reason": "x", "ends_at": "2025-01-01T00:00:00Z"}, "over before it begins"),
        ("alarm.silence", {"of": "*", "reason": "x", "ends_at": "2027-01-01T00:00:00Z"}, "90 days at most"),
        ("alarm.silence", {"of": "*", "reason": "x", "ends_at": "2026-01-02T00:00:00"}, "no time zone"),
        ("alarm.silence", {"of": "*", "reason": "x", "ends_at": "tomorrow"}, "no time"),
        ("alarm.silence", {"of": "everything", "reason": "x", "ends_at": "2026-01-02T00:00:00Z"}, "no alarm"),
        ("alarm.unsilence", {"silence": "nowhere"}, "there is no silence"),
    ],
)
def test_what_makes_no_sense_is_declined(operating: Operating, kind: str, args: dict[str, Any], why: str) -> None:
    settled = operating.ask(kind, **args)
    assert settled.ok is False
    assert why in str((settled.result or {})["error"])
    assert operating.audited() == []


def test_a_resolved_alarm_is_not_acknowledged(operating: Operating) -> None:
    operating.keep(msgspec.convert(msgspec.to_builtins(operating.alarm) | {"state": "resolved"}, Alarm))
    assert operating.ask("alarm.ack", alarm=operating.alarm.id).ok is False
