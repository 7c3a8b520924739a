"""What operators decide about alarms, carried out: acknowledge, silence, unsilence, maintenance.

Changes what the journal keeps; the daemon's alarm loop looks there every few seconds, so all of it works beside a
daemon and without one. Each change is one transaction with its audit entry.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from bridge.alarm import book
from bridge.alarm.machine import Acknowledgement, Alarm
from bridge.alarm.quiet import Quiet
from bridge.config.alarms import is_scope
from bridge.errors import Declined
from bridge.model import AuditEntry
from bridge.ports import Journal, Request

LONGEST = timedelta(days=90)  # of a silence
KEPT_FOR = timedelta(days=30)  # after its end
_TEXT_LIMIT = 500


def perform(journal: Journal, request: Request, *, now: datetime) -> dict[str, Any]:
    """Carry out a request about alarms; returns what became of it. Raises: Declined."""
    return ACTIONS[request.kind](journal, request, now)


def _ack(journal: Journal, request: Request, now: datetime) -> dict[str, Any]:
    """Take care of an alarm: no more reminders. Raises: Declined."""
    alarms = book.alarms(journal)
    alarm = named(alarms, str(request.args.get("alarm", "")))
    if alarm.state == "resolved":
        raise Declined(f"alarm {alarm.id} is resolved already")
    ack = Acknowledgement(request.actor, now, _text(request, "note"))
    stale: dict[str, Mapping[str, Any] | None] = dict.fromkeys(book.acknowledgements(journal).keys() - alarms.keys())
    entry = AuditEntry(request.actor, request.kind, f"alarm/{alarm.id}", f"{alarm.rule} {alarm.subject}: {ack.note}")
    journal.keep("acknowledgement", {**stale, alarm.id: msgspec.to_builtins(ack)}, audit=(entry,))
    return {"alarm": alarm.id, "acknowledged_by": request.actor}


def _silence(journal: Journal, request: Request, now: datetime) -> dict[str, Any]:
    """Tell nobody of some alarms until an end. Raises: Declined."""
    return _keep_quiet(journal, request, now, kind="silence", starts_at=now)


def _maintenance(journal: Journal, request: Request, now: datetime) -> dict[str, Any]:
    """Tell nobody in a time to come. Raises: Declined."""
    starts_at = _moment(request, "starts_at")
    return _keep_quiet(journal, request, now, kind="maintenance", starts_at=starts_at)


def _keep_quiet(journal: Journal, request: Request, now: datetime, *, kind: str, starts_at: datetime) -> dict[str, Any]:
    reason, ends_at, of = _text(request, "reason"), _moment(request, "ends_at"), str(request.args.get("of", ""))
    rule = str(request.args.get("rule") or "*")
    if not reason:
        raise Declined(f"a {kind} needs a reason", hint="Say why: `--reason TEXT`.")
    if ends_at <= max(now, starts_at):
        raise Declined(f"the {kind} would be over before it begins", hint="Give an end that is still to come.")
    if ends_at - starts_at > LONGEST:
        raise Declined(f"a {kind} lasts {LONGEST.days} days at most", hint="Switch the rule off in the configuration.")
    if not is_scope(of):
        of = named(book.alarms(journal), of).id
    number = hashlib.sha256(f"{kind}|{of}|{rule}|{request.id}".encode()).hexdigest()[:10]
    quiet = Quiet(of, reason, request.actor, starts_at, ends_at, rule)
    old: dict[str, Mapping[str, Any] | None] = {
        each: None
        for each, (found, former) in book.quiets(journal).items()
        if found == kind and now - former.ends_at > KEPT_FOR
    }
    entry = AuditEntry(
        request.actor, request.kind, f"{kind}/{number}", f"{of}, {rule}, to {ends_at.isoformat()}: {reason}"
    )
    journal.keep(kind, {**old, number: msgspec.to_builtins(quiet)}, audit=(entry,))
    return {kind: number, "of": of, "rule": rule, "starts_at": starts_at.isoformat(), "ends_at": ends_at.isoformat()}


def _unsilence(journal: Journal, request: Request, _now: datetime) -> dict[str, Any]:
    """End a silence or an operator's maintenance window. Raises: Declined."""
    number = str(request.args.get("silence", ""))
    found = book.quiets(journal).get(number)
    if found is None:
        raise Declined(f"there is no silence {number!r}", hint="See `legacy-bridge alarm silences`.")
    kind, quiet = found
    journal.keep(kind, {number: None}, audit=(AuditEntry(request.actor, request.kind, f"{kind}/{number}", quiet.of),))
    return {"ended": number, "of": quiet.of}


def _tested(journal: Journal, request: Request, _now: datetime) -> dict[str, Any]:
    """Somebody tried the outlets: only the audit trail is told."""
    outlets = ", ".join(map(str, request.args.get("outlets", ())))
    journal.audit(AuditEntry(request.actor, request.kind, "alarms", outlets))
    return {"outlets": outlets}


def named(alarms: Mapping[str, Alarm], text: str) -> Alarm:
    """The alarm with an id, or with the one id that begins so. Raises: Declined."""
    found = [alarm for number, alarm in alarms.items() if text and number.startswith(text)]
    if len(found) != 1:
        problem = "no alarm" if not found else f"{len(found)} alarms"
        raise Declined(f"{problem} with an id {text[:20]!r}", hint="See `legacy-bridge alarm list --all`.")
    return found[0]


def _text(request: Request, name: str) -> str:
    return str(request.args.get(name) or "").strip()[:_TEXT_LIMIT]


def _moment(request: Request, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(str(request.args.get(name)))
    except ValueError:
        raise Declined(f"{name} is no time", hint="Write it like 2026-12-01T20:00:00+01:00.") from None
    if moment.tzinfo is None:
        raise Declined(f"{name} has no time zone", hint="Write it like 2026-12-01T20:00:00+01:00.")
    return moment


ACTIONS: Mapping[str, Callable[[Journal, Request, datetime], dict[str, Any]]] = {
    "alarm.ack": _ack,
    "alarm.silence": _silence,
    "alarm.unsilence": _unsilence,
    "alarm.maintenance": _maintenance,
    "alarm.test": _tested,
}
