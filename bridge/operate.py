"""What operators ask for, carried out in one place: pause and resume of streams, replay of letters, re-reads, reload.

Requests come through the journal. The daemon's ingest thread performs them between two windows; without a daemon the
command line does, as the journal's owner. Whatever changes state is one commit with its audit entry.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl

from bridge.contract.compiled import Drift
from bridge.errors import BridgeError
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
from bridge.resilience.failpoint import reach

_PAGE = 500


class Declined(BridgeError):
    """What was asked for cannot be done as things stand; nothing was changed."""

    code = "request.declined"
    default_hint = "See `legacy-bridge status`."
    exit_code = 1


@dataclass(frozen=True, slots=True)
class Desk:
    """What a request may touch."""

    journal: Journal
    judges: Mapping[str, StreamJudge]
    rereads: Mapping[str, Callable[[str], None]] = field(default_factory=dict)  # stream -> control(action)
    reload: Callable[[], Mapping[str, Any]] | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def perform(desk: Desk, request: Request) -> None:
    """Carry out one request and settle it with its outcome; a declined one is settled with the reason.

    Raises: JournalUnavailable, JournalCorrupt; the request then stays open.
    """
    try:
        action = _ACTIONS.get(request.kind)
        if action is None:
            raise Declined(f"unknown request {request.kind!r}")
        result = action(desk, request)
    except BridgeError as error:
        if error.code.startswith("journal."):
            raise
        desk.journal.settle(request.id, ok=False, result={"error": error.detail, "hint": error.hint})
        return
    reach("operate.before_settle")
    desk.journal.settle(request.id, ok=True, result=result)


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
    if judge.state is None or judge.state.phase is StreamPhase.RUNNING:
        raise Declined(f"stream {judge.stream} is running already")
    rows = 0
    while parked := desk.journal.parked(judge.stream, limit=1):
        raw = parked[0].raw
        drift = judge.compiled(raw.shape) if raw.shape.columns else None
        if isinstance(drift, Drift):
            raise Declined(
                f"{rows} rows replayed; the contract does not fit the next: {'; '.join(drift.problems)}",
                hint="Give the contract a new version that fits the table, reload, and resume again.",
            )
        ruling = judge.check(raw, epoch=parked[0].epoch)
        shape = raw.shape if raw.shape.columns else judge.state.shape
        state = StreamState(judge.stream, judge.state.phase, judge.state.since, judge.state.why, shape)
        reach("operate.before_resume")
        _commit(
            desk,
            judge,
            Ruling(ruling.events, ruling.letters, None, state, ruling.valid, ruling.rejected, ruling.waits),
            unparked=(parked[0].id,),
        )
        rows += raw.row_count
    _enter(desk, judge, StreamState(judge.stream, StreamPhase.RUNNING, desk.now(), "", judge.state.shape), request)
    return {"stream": judge.stream, "rows": rows}


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
    desk.journal.append(Commit(streams=(forgotten,), audit=(entry,)))
    return {"stream": stream, "parked_rows_given_up": rows}


def _judge(desk: Desk, request: Request) -> StreamJudge:
    stream = str(request.args.get("stream"))
    judge = desk.judges.get(stream)
    if judge is None:
        raise Declined(f"there is no stream {stream!r}", hint=f"The streams are: {', '.join(sorted(desk.judges))}.")
    return judge


def _enter(desk: Desk, judge: StreamJudge, state: StreamState, request: Request) -> None:
    audit = AuditEntry(request.actor, request.kind, judge.stream, state.why)
    desk.journal.append(Commit(streams=(state,), audit=(audit,)))
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
    """Hold letters to the present contract, in order. # I5: one that was overtaken is closed, not emitted late."""
    counts: Counter[str] = Counter()
    for stream, letters in _by_stream(_chosen(desk.journal, request.args)).items():
        judge = desk.judges.get(stream)
        if judge is None:
            raise Declined(f"stream {stream} is not configured any more", hint="Discard its letters with a reason.")
        counts.update(_replay_stream(desk, judge, _with_held(desk, judge, letters), actor=request.actor))
    return dict(counts)


def _replay_stream(desk: Desk, judge: StreamJudge, letters: list[Letter], *, actor: str) -> Counter[str]:
    counts: Counter[str] = Counter(replayed=0, superseded=0, still_rejected=0)
    newest = _newest(desk.journal, judge.stream, {letter.key for letter in letters if letter.key is not None})
    stuck: set[str] = set()  # keys with a letter that stays open: what comes after it waits
    for number in (letter.id for letter in letters):
        letter = desk.journal.letter(number)
        if letter is None or letter.raw is None or letter.state is not LetterState.OPEN:
            continue
        ruling = None if letter.key in stuck else _checked(judge, letter.raw, letter.epoch)
        if ruling is None:
            counts["still_rejected"] += 1
            stuck |= {letter.key} if letter.key is not None else set()
            continue
        overtaken = letter.key is not None and newest.get(letter.key, (0, 0, 0)) > _place(letter)
        outcome = LetterState.SUPERSEDED if overtaken else LetterState.REPLAYED
        reach("operate.before_replay")
        desk.journal.append(
            Commit(
                events=() if overtaken or ruling.events is None else (ruling.events,),
                settled={letter.id: (outcome, f"{actor}, contract {judge.contract.version}")},
                audit=(AuditEntry(actor, "dead.replay", f"{judge.stream}/{letter.id}", outcome.value),),
            )
        )
        counts[outcome.value] += 1
    _release(desk, judge, letters)
    return counts


def _checked(judge: StreamJudge, raw: RawBatch, epoch: int) -> Ruling | None:
    """The ruling on a letter's row under the present contract; None where it is rejected still."""
    if isinstance(judge.compiled(raw.shape), Drift):
        return None
    ruling = judge.check(raw, epoch=epoch, alone=True)
    return None if ruling.letters else ruling


def _discard(desk: Desk, request: Request) -> dict[str, Any]:
    reason = str(request.args.get("reason", "")).strip()
    if not reason:
        raise Declined("a letter is discarded only with a reason", hint="Say why: `--reason TEXT`.")
    letters = list(_chosen(desk.journal, request.args))
    for letter in letters:
        desk.journal.append(
            Commit(
                settled={letter.id: (LetterState.DISCARDED, f"{request.actor}: {reason}")},
                audit=(AuditEntry(request.actor, "dead.discard", f"{letter.stream}/{letter.id}", reason),),
            )
        )
    counts = {"discarded": len(letters)}
    for stream, discarded in _by_stream(letters).items():
        judge = desk.judges.get(stream)
        if judge is not None and judge.holds:  # what waited behind them goes on
            counts |= _replay_stream(desk, judge, _with_held(desk, judge, discarded), actor=request.actor)
    return counts


def _with_held(desk: Desk, judge: StreamJudge, letters: list[Letter]) -> list[Letter]:
    """The letters, and those that only wait behind one of them, in order of id."""
    if not judge.holds:
        return letters
    keys = {letter.key for letter in letters}
    held = [
        letter
        for letter in open_letters(desk.journal, judge.stream)
        if letter.key in keys and all(breach.rule == "held" for breach in letter.breaches)
    ]
    return sorted({letter.id: letter for letter in [*letters, *held]}.values(), key=lambda letter: letter.id)


def _release(desk: Desk, judge: StreamJudge, letters: list[Letter]) -> None:
    """Let those keys flow again that have no open letter any more."""
    if judge.holds:
        keys = {letter.key for letter in letters if letter.key is not None}
        judge.release(frozenset(keys - {letter.key for letter in open_letters(desk.journal, judge.stream)}))


def _by_stream(letters: Iterable[Letter]) -> dict[str, list[Letter]]:
    found: dict[str, list[Letter]] = {}
    for letter in letters:
        found.setdefault(letter.stream, []).append(letter)
    return found


def _chosen(journal: Journal, args: Mapping[str, Any]) -> Iterator[Letter]:
    """The open letters a request names, in order of id."""
    if "ids" in args:
        for number in sorted(args["ids"]):
            letter = journal.letter(int(number))
            if letter is None or letter.state is not LetterState.OPEN:
                raise Declined(f"dead letter {number} is not open", hint="See `legacy-bridge dead list`.")
            yield letter
    elif args.get("all") or args.get("stream"):
        yield from open_letters(journal, args.get("stream"))
    else:
        raise Declined("no letters were named")


def open_letters(journal: Journal, stream: str | None) -> list[Letter]:
    """All open letters of a stream, or of all, in order of id."""
    found: list[Letter] = []
    while page := journal.letters(stream=stream, limit=_PAGE, after=found[-1].id if found else 0):
        found += page
    return found


def _place(letter: Letter) -> tuple[int, int, int]:
    """Where a letter's change stands in the source's order: epoch, position, index in its transaction."""
    assert letter.raw is not None  # noqa: S101  asked for with its row
    changes = letter.raw.changes
    return letter.epoch, changes.column("_position")[0].as_py(), changes.column("_tx_index")[0].as_py()


def _newest(journal: Journal, stream: str, keys: set[str]) -> dict[str, tuple[int, int, int]]:
    """Of each of these keys, the place of the newest event in the journal. One pass over the stream."""
    newest: dict[str, tuple[int, int, int]] = {}
    wanted = pl.Series(sorted(keys), dtype=pl.String)
    for block in journal.read(stream):
        page = pl.DataFrame(pl.from_arrow(block.batch.select(["_key", "_position", "_tx_index"])))
        for key, position, index in page.filter(pl.col("_key").is_in(wanted.implode())).iter_rows():
            newest[key] = max(newest.get(key, (0, 0, 0)), (block.epoch, position, index))
    return newest


# -- re-reads and reload


def _reread(desk: Desk, request: Request) -> dict[str, Any]:
    stream = str(request.args.get("stream"))
    control = desk.rereads.get(stream)
    if control is None:
        raise Declined(f"stream {stream!r} is not read by this daemon", hint="See `legacy-bridge stream list`.")
    control(request.kind.partition(".")[2])
    desk.journal.audit(AuditEntry(request.actor, request.kind, stream))
    return {"stream": stream}


def _reload(desk: Desk, request: Request) -> dict[str, Any]:
    if desk.reload is None:
        raise Declined("no daemon runs", hint="The configuration is read when it starts.")
    result = dict(desk.reload())
    desk.journal.audit(AuditEntry(request.actor, request.kind, "configuration", ", ".join(result.get("changes", []))))
    return result


_ACTIONS: Mapping[str, Callable[[Desk, Request], dict[str, Any]]] = {
    "stream.pause": _pause,
    "stream.resume": _resume,
    "stream.remove": _remove,
    "dead.replay": _replay,
    "dead.discard": _discard,
    "snapshot.start": _reread,
    "snapshot.pause": _reread,
    "snapshot.resume": _reread,
    "snapshot.cancel": _reread,
    "reload": _reload,
}
