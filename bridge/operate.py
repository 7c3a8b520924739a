"""What operators ask for, carried out in one place: pause and resume of streams, replay of letters, re-reads, reload.

Requests come through the journal. The daemon's ingest thread performs them between two windows; without a daemon the
command line does, as the journal's owner. Whatever changes state is one commit with its audit entry.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from bridge import correct, halt, hush, polls, reread, steer
from bridge.bell import Bell
from bridge.contract.compiled import Drift
from bridge.errors import BridgeError, Declined, InternalError
from bridge.extracted import Extracted, Forgotten
from bridge.heal import Ending, Healing, heal, healing_number
from bridge.judge import Ruling, StreamJudge, judged
from bridge.model import (
    AuditEntry,
    Commit,
    Letter,
    LetterState,
    RawBatch,
    StreamPhase,
    StreamState,
)
from bridge.ports import Journal, Request
from bridge.replay import open_letters, replay, waiting_keys
from bridge.resilience.failpoint import reach

_PAGE = 500
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Desk:
    """What a request may touch."""

    journal: Journal
    judges: Mapping[str, StreamJudge]
    rereads: Mapping[str, Callable[[str], None]] = field(default_factory=dict)  # stream -> control(action)
    reload: Callable[[int], Sequence[str]] | None = None  # of a request's number: what changes; settled elsewhere
    polled: Mapping[str, polls.Polling] = field(default_factory=dict)  # what polls each stream
    halts: Mapping[str, Sequence[halt.Halting]] = field(default_factory=dict)  # what reads each system
    systems: Mapping[str, str] = field(default_factory=dict)  # stream -> the system it is read from
    sinks: steer.Sinks = field(default_factory=dict)  # the streams of each sink
    test: Callable[[str], "Future[dict[str, Any]] | None"] = lambda _sink: None  # one event to a sink; None: no loop
    bell: Bell = field(default_factory=Bell)  # rung when the journal holds more
    turned: Callable[[], None] = lambda: None  # told of progress within one request
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Awaited:
    """A request that is handed on and not done before the journal holds what came of it."""

    request: Request
    outcome: Callable[[], dict[str, Any] | None]  # None: not yet
    is_audited: bool = False  # the audit trail was told when it was handed on


def perform(desk: Desk, request: Request) -> Awaited | None:
    """Carry out one request and settle it with its outcome; a declined one is settled with the reason.

    Returns: what is still awaited, for `conclude`; None when the request is settled. After a kill in between it is
        open, and performed again.
    Raises: JournalUnavailable, JournalCorrupt; the request then stays open.
    """
    try:
        result = _ACTIONS.get(request.kind, _unknown)(desk, request)
    except BridgeError as error:
        if error.code.startswith("journal."):
            raise
        desk.journal.settle(request.id, ok=False, result={"error": error.detail, "hint": error.hint})
        return None
    except Exception as error:  # noqa: BLE001  a request that meets a bug must not stop every start after it
        _log.error("request.failed", kind=request.kind, request=request.id, error=error)
        failed = InternalError(f"{request.kind} was stopped by {type(error).__name__}")
        desk.journal.settle(request.id, ok=False, result={"error": failed.detail, "hint": failed.hint})
        return None
    if isinstance(result, Awaited):
        return result
    reach("operate.before_settle")
    desk.journal.settle(request.id, ok=True, result=result)
    return None


def conclude(desk: Desk, awaited: Awaited) -> bool:
    """Settle an awaited request once its outcome is in the journal; True when it is."""
    result = awaited.outcome()
    if result is None:
        return False
    if not awaited.is_audited:
        desk.journal.audit(AuditEntry(awaited.request.actor, awaited.request.kind, str(result["stream"])))
    reach("operate.before_settle")
    desk.journal.settle(awaited.request.id, ok=True, result=result)
    return True


def _unknown(_desk: Desk, request: Request) -> dict[str, Any]:
    raise Declined(f"unknown request {request.kind!r}")


# -- streams


def _pause(desk: Desk, request: Request) -> dict[str, Any]:
    judge = _judge(desk, request)
    if judge.state is not None and judge.state.phase is StreamPhase.DRIFT:
        raise Declined(f"stream {judge.stream} is parked already: {judge.state.why}")
    shape = judge.state.shape if judge.state else None
    _enter(
        desk,
        judge,
        StreamState(judge.stream, StreamPhase.PAUSED, desk.now(), f"paused by {request.actor}", shape),
        request,
    )
    return {"stream": judge.stream, "phase": StreamPhase.PAUSED.value}


def _resume(desk: Desk, request: Request) -> dict[str, Any]:
    """Replay parked rows in order (I5), a batch a commit; a kill in between leaves the rest parked, in order."""
    judge = _judge(desk, request)
    rows = 0
    while parked := desk.journal.parked(judge.stream, limit=1):
        desk.turned()
        raw = judge.fitted(parked[0].raw)
        _require_fit(desk, judge, raw, request, replayed=rows)
        ruling = judge.check(raw, epoch=parked[0].epoch)
        if raw.shape.columns and judge.state is not None:
            ruling = replace(ruling, state=replace(judge.state, shape=raw.shape))
        reach("operate.before_resume")
        _commit(desk, judge, ruling, unparked=(parked[0].id,))
        rows += raw.row_count
    if judge.state is not None and not judge.is_running:
        healing = _heal(desk, judge)
        running = replace(judge.state, phase=StreamPhase.RUNNING, since=desk.now(), why="")
        _enter(desk, judge, running, request, healing=healing)
        if judge.holds and healing.settled:
            replay(desk.journal, judge, (), actor=request.actor, turned=desk.turned)
    return {"stream": judge.stream, "rows": rows}


def _require_fit(desk: Desk, judge: StreamJudge, raw: RawBatch, request: Request, *, replayed: int) -> None:
    """Raises: Declined where the contract does not fit the table, or its shape changed while the stream was paused."""
    if not raw.shape.columns or judge.state is None:
        return
    if judge.state.phase is not StreamPhase.DRIFT and (drift := judge.drift(raw.shape)) is not None:
        _enter(desk, judge, replace(judge.state, phase=StreamPhase.DRIFT, since=desk.now(), why=drift), request)
        raise Declined(
            f"{replayed} rows replayed; then {drift}",
            hint="Where the contract still says what the table means, resume again; else give it a new version first.",
        )
    compiled = judge.compiled(raw.shape)
    if isinstance(compiled, Drift):
        raise Declined(
            f"{replayed} rows replayed; the contract does not fit the next: {'; '.join(compiled.problems)}",
            hint="Give the contract a new version that fits the table, reload, and resume again.",
        )


def _heal(desk: Desk, judge: StreamJudge) -> Healing:
    """What a gap hid whose re-read was completed while the stream was parked."""
    position, state = desk.journal.position(desk.systems.get(judge.stream, ""))
    number = healing_number(state, judge.stream)
    if position is None or number is None:
        return Healing(None, {})
    ending = Ending(judge.stream, epoch=position.epoch, position=position.at[0], at=desk.now(), snapshot=number)
    return heal(desk.journal, ending, judge.contract, turned=desk.turned)


def _remove(desk: Desk, request: Request) -> dict[str, Any]:
    stream = str(request.args.get("stream"))
    if stream in desk.judges:
        raise Declined(f"stream {stream} is configured", hint="Take it out of the configuration and reload first.")
    if stream not in desk.journal.stream_states():
        raise Declined(f"there is no stream {stream}")
    rows = 0
    while parked := desk.journal.parked(stream):
        rows += sum(one.raw.row_count for one in parked)
        desk.journal.append(Commit(unparked=tuple(one.id for one in parked)))
    forgotten = StreamState(stream, StreamPhase.RUNNING, desk.now(), "removed")
    entry = AuditEntry(request.actor, request.kind, stream, f"{rows} parked rows given up")
    image = Extracted(forgotten=(Forgotten(stream),))  # it holds what the rows that are given up would have told
    desk.journal.append(Commit(streams=(forgotten,), audit=(entry,), extracted=image))
    return {"stream": stream, "parked_rows_given_up": rows}


def _judge(desk: Desk, request: Request) -> StreamJudge:
    stream = str(request.args.get("stream"))
    judge = desk.judges.get(stream)
    if judge is None:
        raise Declined(f"there is no stream {stream!r}", hint=f"The streams are: {', '.join(sorted(desk.judges))}.")
    # A commit that failed before may have gone in all the same: only the journal knows.
    judge.state = desk.journal.stream_states().get(stream, judge.state)
    if judge.holds:
        judge.wait_behind(waiting_keys(desk.journal, stream))
    return judge


def _enter(
    desk: Desk, judge: StreamJudge, state: StreamState, request: Request, *, healing: Healing | None = None
) -> None:
    audit = AuditEntry(request.actor, request.kind, judge.stream, state.why)
    deletes = healing.deletes if healing else None
    desk.journal.append(
        Commit(
            events=(deletes,) if deletes else (),
            settled=healing.settled if healing else {},
            streams=(state,),
            audit=(audit,),
        )
    )
    judge.settle(Ruling(state=state))


def _commit(desk: Desk, judge: StreamJudge, ruling: Ruling, **rest: Any) -> None:  # noqa: ANN401  fields of Commit
    desk.journal.append(
        Commit(
            events=(ruling.events,) if ruling.events else (),
            letters=(ruling.letters,) if ruling.letters else (),
            streams=(ruling.state,) if ruling.state else (),
            judged=judged({judge.stream: ruling}),
            **rest,
        )
    )
    judge.settle(ruling)


# -- dead letters


def _replay(desk: Desk, request: Request) -> dict[str, Any]:
    sent = steer.replay_letters(desk.journal, desk.sinks, request)
    chosen = _by_stream(_chosen(desk.journal, request))
    unknown = sorted(chosen.keys() - desk.judges.keys())
    if unknown:
        raise Declined(
            f"stream {', '.join(unknown)} is not configured any more", hint="Discard its letters with a reason."
        )
    counts = dict(_go_on(desk, chosen, actor=request.actor))
    return counts | ({"sent_again": sent} if sent else {})


def _go_on(desk: Desk, chosen: Mapping[str, list[Letter]], *, actor: str) -> Counter[str]:
    """Replay the chosen letters, and whatever waits behind none any more."""
    counts: Counter[str] = Counter(replayed=0, superseded=0, still_rejected=0)
    for stream, judge in desk.judges.items():
        letters = chosen.get(stream, [])
        if letters or judge.holds:
            counts.update(replay(desk.journal, judge, letters, actor=actor, turned=desk.turned))
    return counts


def _discard(desk: Desk, request: Request) -> dict[str, Any]:
    reason = str(request.args.get("reason", "")).strip()
    if not reason:
        raise Declined("a letter is discarded only with a reason", hint="Say why: `--reason TEXT`.")
    discarded = steer.discard_letters(desk.journal, request, reason=reason)
    for letter in list(_chosen(desk.journal, request)):
        desk.turned()
        desk.journal.append(
            Commit(
                settled={letter.id: (LetterState.DISCARDED, f"{request.actor}: {reason}")},
                audit=(AuditEntry(request.actor, "dead.discard", f"{letter.stream}/{letter.id}", reason),),
            )
        )
        discarded += 1
    return {"discarded": discarded, **+_go_on(desk, {}, actor=request.actor)}


def _by_stream(letters: Iterable[Letter]) -> dict[str, list[Letter]]:
    found: dict[str, list[Letter]] = {}
    for letter in letters:
        found.setdefault(letter.stream, []).append(letter)
    return found


def _chosen(journal: Journal, request: Request) -> Iterator[Letter]:
    """The open letters a request names, in order of id."""
    if "ids" in request.args:
        for number in steer.rejected_ids(request.args["ids"]):
            letter = journal.letter(number)
            if letter is not None and letter.settled_at is not None and letter.settled_at >= request.made_at:
                continue  # by this request, before the process died
            if letter is None or letter.state is not LetterState.OPEN:
                raise Declined(f"dead letter {number} is not open", hint="See `legacy-bridge dead list`.")
            yield letter
    elif request.args.get("sink"):
        return  # delivery letters only
    elif request.args.get("all") or request.args.get("stream"):
        yield from open_letters(journal, request.args.get("stream"))
    else:
        raise Declined("no letters were named")


# -- sinks


def _hush(desk: Desk, request: Request) -> dict[str, Any]:
    return hush.perform(desk.journal, request, now=desk.now())


def _steer(desk: Desk, request: Request) -> dict[str, Any]:
    return steer.perform(desk.journal, desk.sinks, request, now=desk.now())


def _correct(desk: Desk, request: Request) -> dict[str, Any]:
    judge = _judge(desk, request)
    return correct.perform(desk.journal, judge, request, now=desk.now(), turned=desk.turned)


_CUT_OFF = {"ok": False, "detail": "cut off by a stop or a reload", "hint": "Ask again.", "took_ms": 0.0}


def _sink_test(desk: Desk, request: Request) -> Awaited:
    sink = str(request.args.get("sink"))
    if sink not in desk.sinks:
        raise Declined(f"there is no sink {sink!r}", hint=f"The sinks are: {', '.join(sorted(desk.sinks)) or 'none'}.")
    future = desk.test(sink)
    if future is None:
        raise Declined(f"sink {sink} is not running", hint="Start the daemon, then test it.")

    def outcome() -> dict[str, Any] | None:
        if not future.done():
            return None
        return {"sink": sink, "stream": sink, **(_CUT_OFF if future.cancelled() else future.result())}

    return Awaited(request, outcome)


# -- re-reads and reload


def _reread(desk: Desk, request: Request) -> Awaited:
    stream = str(request.args.get("stream"))
    system = desk.systems.get(stream, "")
    return Awaited(request, reread.begin(desk.journal, request, desk.rereads.get(stream), system=system))


# -- systems and their runs


def _poll(desk: Desk, request: Request) -> Awaited:
    polling = desk.polled.get(str(request.args.get("stream")))
    return Awaited(request, polls.begin(desk.journal, request, polling))


def _halt(desk: Desk, request: Request) -> dict[str, Any] | Awaited:
    result = halt.perform(desk.journal, desk.halts, request, now=desk.now())
    readers = desk.halts.get(str(result["system"]), ())
    if halt.at_rest(readers) or not result["paused"]:
        return result
    return Awaited(request, lambda: result if halt.at_rest(readers) else None, is_audited=True)


def _reload(desk: Desk, request: Request) -> Awaited:
    """Whoever changes over settles it: what it answers is in force then."""
    if desk.reload is None:
        raise Declined("no daemon runs", hint="The configuration is read when it starts.")
    changes = desk.reload(request.id)
    desk.journal.audit(AuditEntry(request.actor, request.kind, "configuration", ", ".join(changes)))
    return Awaited(request, lambda: None, is_audited=True)


_ACTIONS: Mapping[str, Callable[[Desk, Request], dict[str, Any] | Awaited]] = {
    "stream.pause": _pause,
    "stream.resume": _resume,
    "stream.remove": _remove,
    correct.KIND: _correct,
    correct.COMPARED: lambda desk, request: correct.note(desk.journal, request),
    "dead.replay": _replay,
    "dead.discard": _discard,
    "sink.pause": _steer,
    "sink.resume": _steer,
    "sink.replay": _steer,
    "sink.breaker": _steer,
    "sink.forget": _steer,
    "cursor.forget": _steer,
    "sink.test": _sink_test,
    "snapshot.start": _reread,
    "snapshot.pause": _reread,
    "snapshot.resume": _reread,
    "snapshot.cancel": _reread,
    "run.start": _poll,
    "run.cancel": _poll,
    "system.pause": _halt,
    "system.resume": _halt,
    "reload": _reload,
    **dict.fromkeys(hush.ACTIONS, _hush),
}
