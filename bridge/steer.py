"""What operators ask of sinks, carried out: pause, resume, replay, force a breaker, give up a delivery letter, forget.

Changes what the journal keeps; a running delivery loop looks there several times a second, so everything here works
beside a daemon and without one. Each change is one transaction with its audit entry.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from bridge.access import cursor_of, reader_of
from bridge.errors import Declined
from bridge.model import AuditEntry, LetterState
from bridge.parcel import Delivered, Job, Switches, Undelivered
from bridge.ports import Journal, Request

Sinks = Mapping[str, Sequence[str]]  # the streams of each configured sink
_PAGE = 500


def perform(journal: Journal, sinks: Sinks, request: Request, *, now: datetime) -> dict[str, Any]:
    """Carry out a request on a sink; returns what became of it. Raises: Declined."""
    return _ACTIONS[request.kind](journal, sinks, request, now)


def _pause(journal: Journal, sinks: Sinks, request: Request, now: datetime) -> dict[str, Any]:
    """Send nothing more to a sink. Raises: Declined."""
    sink, switches = _switches(journal, sinks, request)
    reason = str(request.args.get("reason") or "").strip()
    why = f"paused by {request.actor}" + (f": {reason}" if reason else "")
    _switch(journal, request, sink, replace(switches, paused=True, why=why, since=now), reason=why)
    return {"sink": sink, "paused": True}


def _resume(journal: Journal, sinks: Sinks, request: Request, now: datetime) -> dict[str, Any]:
    """Go on; a receiver that said it was gone is tried again. Raises: Declined."""
    sink, switches = _switches(journal, sinks, request)
    _switch(journal, request, sink, replace(switches, paused=False, why="", since=None, resumed_at=now))
    return {"sink": sink, "paused": False}


def _force_breaker(journal: Journal, sinks: Sinks, request: Request, _now: datetime) -> dict[str, Any]:
    """Hold a breaker open or closed, or let it judge by itself. Raises: Declined."""
    sink, switches = _switches(journal, sinks, request)
    side = request.args.get("force")
    if side not in ("open", "closed", "none", None):
        raise Declined(f"a breaker is forced open, closed or none, not {side!r}")
    force = None if side == "none" else side
    _switch(journal, request, sink, replace(switches, force=force), reason=f"force {force or 'none'}")
    return {"sink": sink, "force": force}


def _replay(journal: Journal, sinks: Sinks, request: Request, _now: datetime) -> dict[str, Any]:
    """Send a range of events once more, with the same ids. Raises: Declined."""
    sink = _known(sinks, request)
    stream = str(request.args.get("stream"))
    if stream not in sinks[sink]:
        raise Declined(f"sink {sink} is not sent stream {stream!r}", hint=f"It is sent: {', '.join(sinks[sink])}.")
    extent = journal.extents().get(stream)
    first, last = _range(request, kept=(extent.first, extent.last) if extent else (1, 0))
    job = Job(f"{request.id}", sink, stream, first, last, request.actor)
    subject = f"{sink}/{stream}/{first}-{last}"
    _store(journal, sink, AuditEntry(request.actor, request.kind, subject), {("replay", job.id): job.dump()})
    return {"sink": sink, "stream": stream, "first": first, "last": last, "replay": job.id}


def _forget(journal: Journal, sinks: Sinks, request: Request, _now: datetime) -> dict[str, Any]:
    """Forget a sink that is not configured, or what one is not sent any more: it holds retention back no longer.

    Raises: Declined.
    """
    sink = str(request.args.get("sink"))
    held = journal.subscribers().get(sink, {})
    if sink in sinks and (lost := sorted(held.keys() - set(sinks[sink]))):
        journal.forget_subscriber(sink, lost)
        _store(journal, sink, AuditEntry(request.actor, request.kind, sink, f"streams {', '.join(lost)}"), {})
        return {"sink": sink, "streams": lost, "forgotten": True}
    if sink in sinks:
        raise Declined(f"sink {sink} is configured", hint="Take it out of the configuration and reload first.")
    if not held or reader_of(sink) is not None:
        raise Declined(f"there is no sink {sink}")
    journal.forget_subscriber(sink)
    gone = {(kind, sink): None for kind in ("sink", "delivery")}
    gone |= {("replay", number): None for number, job in journal.kept("replay").items() if job["sink"] == sink}
    _store(journal, sink, AuditEntry(request.actor, request.kind, sink), gone)
    return {"sink": sink, "forgotten": True}


def _forget_cursor(journal: Journal, _sinks: Sinks, request: Request, _now: datetime) -> dict[str, Any]:
    """Forget a named cursor of a principal, on every stream: retention waits no longer. Raises: Declined."""
    principal, name = str(request.args.get("principal")), str(request.args.get("name"))
    subscriber = cursor_of(principal, name)
    streams = sorted(journal.subscribers().get(subscriber, {}))
    if not streams:
        raise Declined(f"{principal} has no cursor {name!r}", hint="See `legacy-bridge cursor list`.")
    journal.forget_subscriber(subscriber)
    journal.audit(AuditEntry(request.actor, request.kind, f"{principal}/{name}", f"streams {', '.join(streams)}"))
    return {"principal": principal, "name": name, "streams": streams, "forgotten": True}


def replay_letters(journal: Journal, sinks: Sinks, request: Request) -> int:
    """Send delivery letters once more; returns how many. Each is settled when it is delivered. Raises: Declined."""
    letters = list(_chosen(journal, request))
    strange = sorted({letter.sink for letter in letters} - sinks.keys())
    if strange:
        raise Declined(
            f"sink {', '.join(strange)} is not configured any more", hint="Discard its letters with a reason."
        )
    for letter in letters:
        first = last = letter.number
        job = Job(f"d{letter.id}", letter.sink, letter.stream, first, last, request.actor, letter.id, letter.key)
        entry = AuditEntry(request.actor, "dead.replay", f"{letter.sink}/d{letter.id}")
        _store(journal, letter.sink, entry, {("replay", job.id): job.dump()})
    return len(letters)


def discard_letters(journal: Journal, request: Request, *, reason: str) -> int:
    """Close delivery letters for good; returns how many. Raises: Declined."""
    count = 0
    for letter in list(_chosen(journal, request)):
        entry = AuditEntry(request.actor, "dead.discard", f"{letter.sink}/d{letter.id}", reason)
        how = (LetterState.DISCARDED, f"{request.actor}: {reason}")
        unwanted = {("replay", f"d{letter.id}"): None}
        journal.record([Delivered(letter.sink, settled={letter.id: how}, kept=unwanted, audit=(entry,))])
        count += 1
    return count


def delivery_ids(ids: Iterable[object]) -> list[int]:
    """The numbers of those ids that are delivery letters': "d17" → 17. Raises: Declined for what is no number."""
    found = []
    for one in map(str, ids):
        if one.startswith("d"):
            if not one[1:].isascii() or not one[1:].isdigit():
                raise Declined(f"{one!r} is not the id of a dead letter", hint="See `legacy-bridge dead list`.")
            found.append(int(one[1:]))
    return found


def rejected_ids(ids: Iterable[object]) -> list[int]:
    """The numbers of rejected rows among the ids, in order. Raises: Declined for what is no number."""
    numbers = [one for one in map(str, ids) if not one.startswith("d")]
    if not all(one.isascii() and one.isdigit() for one in numbers):
        raise Declined("an id is a number, or d and a number", hint="See `legacy-bridge dead list`.")
    return sorted(map(int, numbers))


def _chosen(journal: Journal, request: Request) -> Iterator[Undelivered]:
    """The open delivery letters a request names, in order of id."""
    if "ids" in request.args:
        for number in sorted(delivery_ids(request.args["ids"])):
            letter = journal.undelivered_one(number)
            if letter is not None and letter.settled_at is not None and letter.settled_at >= request.made_at:
                continue  # by this request, before the process died
            if letter is None or letter.state is not LetterState.OPEN:
                raise Declined(f"dead letter d{number} is not open", hint="See `legacy-bridge dead list`.")
            yield letter
        return
    sink, stream = request.args.get("sink"), request.args.get("stream")
    if not (request.args.get("all") or sink or stream):
        return
    after = 0
    while page := journal.undelivered(sink=sink, stream=stream, limit=_PAGE, after=after):
        yield from page
        after = page[-1].id


def _known(sinks: Sinks, request: Request) -> str:
    sink = str(request.args.get("sink"))
    if sink not in sinks:
        raise Declined(f"there is no sink {sink!r}", hint=f"The sinks are: {', '.join(sorted(sinks)) or 'none'}.")
    return sink


def _switches(journal: Journal, sinks: Sinks, request: Request) -> tuple[str, Switches]:
    sink = _known(sinks, request)
    return sink, Switches.load(journal.kept("sink").get(sink))


def _switch(journal: Journal, request: Request, sink: str, switches: Switches, *, reason: str = "") -> None:
    entry = AuditEntry(request.actor, request.kind, sink, reason)
    _store(journal, sink, entry, {("sink", sink): switches.dump()})


def _store(
    journal: Journal, sink: str, entry: AuditEntry, kept: Mapping[tuple[str, str], Mapping[str, Any] | None]
) -> None:
    journal.record([Delivered(sink, kept=kept, audit=(entry,))])


def _range(request: Request, *, kept: tuple[int, int]) -> tuple[int, int]:
    """The numbers that are asked for, first and last, cut to what the journal keeps. Raises: Declined for none."""
    try:
        first = int(request.args.get("first", kept[0]))
        last = int(request.args.get("last", first if "first" in request.args else kept[1]))
    except (TypeError, ValueError):
        raise Declined("first and last are sequence numbers") from None
    if last < first or last < kept[0] or first > kept[1]:
        raise Declined(
            f"no event has a number from {first} to {last}", hint=f"The journal keeps {kept[0]} to {kept[1]}."
        )
    return max(first, kept[0]), min(last, kept[1])


_ACTIONS: Mapping[str, Callable[[Journal, Sinks, Request, datetime], dict[str, Any]]] = {
    "sink.pause": _pause,
    "sink.resume": _resume,
    "sink.replay": _replay,
    "sink.breaker": _force_breaker,
    "sink.forget": _forget,
    "cursor.forget": _forget_cursor,
}
