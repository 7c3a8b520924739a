"""Runs of polled streams: which were, which were not and why; start and cancel."""

from datetime import UTC, datetime
from typing import Literal

import msgspec

from bridge import extracted
from bridge.extraction.runs import HISTORY, took, usual
from bridge.web.desk import Petition, ask
from bridge.web.endpoint import Answered, Call, Endpoint, Parameter, stream_parameter
from bridge.web.problems import Problem


class PolledRun(msgspec.Struct, frozen=True):
    """One run of a polled stream, or moments of its schedule that brought none."""

    source: str
    number: int  # of the source's runs
    stream: str
    kind: Literal["run", "full", "sweep"]
    cause: str
    state: Literal["running", "done", "failed", "cancelled", "skipped"]
    started_at: datetime
    ended_at: datetime | None
    detail: str  # why it failed or did not happen
    moments: int  # of the schedule that it stands for
    pages: int
    rows: int
    rejected: int
    counts: dict[str, int]  # events by letter of their op
    seconds: float  # that the system was at work for it
    bytes: int
    queries: int
    took_s: float | None
    usually_s: float | None  # the median of those before; null where there are too few


class PolledRuns(msgspec.Struct, frozen=True):
    """Runs, the newest first."""

    runs: list[PolledRun]


class NewRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be read."""

    kind: Literal["run", "full", "sweep"] = "run"


def get_runs(call: Call) -> Answered:
    """The newest runs of a stream."""
    runs = call.door.journal.runs(stream=call.values["stream"], limit=call.values["limit"])
    return PolledRuns([_shown(call, run) for run in runs])


def get_stream_run(call: Call) -> Answered:
    """One run of a stream."""
    stream, number = call.values["stream"], call.values["number"]
    for run in call.door.journal.runs(stream=stream, number=number, limit=1):
        return _shown(call, run)
    raise Problem(404, "not-found", f"Stream {stream} has no run {number}.")


def _shown(call: Call, run: extracted.Run) -> PolledRun:
    now = datetime.now(UTC)
    before = call.door.journal.runs(stream=run.stream, limit=10 * HISTORY)
    usually = usual(before, run) if run.state != "skipped" else None
    return PolledRun(
        source=run.source,
        number=run.number,
        stream=run.stream,
        kind=run.kind,
        cause=run.cause,
        state=run.state,
        started_at=run.started_at,
        ended_at=run.ended_at,
        detail=run.detail,
        moments=run.moments,
        pages=run.pages,
        rows=run.rows,
        rejected=run.rejected,
        counts=dict(run.counts),
        seconds=run.seconds,
        bytes=run.size_bytes,
        queries=run.queries,
        took_s=took(run, now).total_seconds() if run.state != "skipped" else None,
        usually_s=usually.total_seconds() if usually is not None else None,
    )


async def start_run(call: Call) -> Answered:
    """Read a stream now, or as soon as its budget lets it."""
    return await ask(call, "run.start", {"stream": call.values["stream"], "kind": call.body.kind})


async def cancel_run(call: Call) -> Answered:
    """End the run of a stream."""
    return await ask(call, "run.cancel", {"stream": call.values["stream"]})


_LATER = {202: "It takes longer; Location says where the outcome will be."}
ENDPOINTS = (
    Endpoint("GET", "/v1/streams/{stream}/runs", "listStreamRuns",
             "Runs of a polled stream, newest first, and moments that brought none.", get_runs, parameters=(
                 stream_parameter(),
                 Parameter("limit", "Runs at most.", kind="whole", least=1, most=1_000, default=100),
             ), answer=PolledRuns),
    Endpoint("GET", "/v1/streams/{stream}/runs/{number}", "getRun", "One run of a stream.", get_stream_run,
             parameters=(stream_parameter(), Parameter("number", "Number of the run.", kind="whole", place="path",
                                                       least=1)), answer=PolledRun),
    Endpoint("POST", "/v1/streams/{stream}/runs", "startRun", "Read a polled stream as soon as its budget lets it.",
             start_run, act="operate", parameters=(stream_parameter(),), body=NewRun, answer=Petition,
             statuses=_LATER, problems=(409,)),
    Endpoint("POST", "/v1/streams/{stream}/runs/cancel", "cancelRun", "End its run; what was read stays journalled.",
             cancel_run, act="operate", parameters=(stream_parameter(),), answer=Petition, statuses=_LATER,
             problems=(409,)),
)  # fmt: skip
