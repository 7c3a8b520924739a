"""When each polled stream of a system is read: by schedule, after another stream, or because somebody asked.

Promises: one run of a stream at a time; moments of the schedule that come together are one run; a moment that brought
no run leaves a record that says why. Pure: the clock is an argument, and what must outlive the process is `memory()`.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bridge.extracted import Run, RunKind
from bridge.extraction.plan import Plan, moments_of
from bridge.moments import Every, Moments, between

MOMENTS_LIMIT = 2_000  # that are counted of a long absence; what they were is not worth the time beyond that
SAME_AGAIN = timedelta(minutes=1)  # a clock that was set back by more has the moments of an open schedule again
SAME_DAY = timedelta(hours=3)  # and by more than this those of named hours, too
_ENDS = {"failed": "failed", "cancelled": "was cancelled"}


@dataclass(frozen=True, slots=True)
class Start:
    """A run that is to begin now."""

    stream: str
    kind: RunKind
    cause: str  # in words


@dataclass(frozen=True, slots=True)
class _Wish:
    """A run that is owed and waits until it may begin."""

    kind: RunKind
    cause: str


class Timetable:
    """The schedules of one system's streams. Not for several threads.

    Args:
        plans: one `run` for each stream, and one `sweep` where its keys are swept.
        source: whose runs they are.
        number: gives the next run number.
        memory: what `memory` returned last; empty at first.
        now: the time. A stream that is read every so often and was never read is read now.
    """

    def __init__(
        self,
        plans: Iterable[Plan],
        *,
        source: str,
        number: Callable[[], int],
        now: datetime,
        memory: Mapping[str, Any] | None = None,
    ) -> None:
        self._plans = {plan.job: plan for plan in plans}  # each stream has one, be it on demand
        self._source = source
        self._number = number
        held = memory or {}
        self._seen_at = datetime.fromisoformat(held["seen_at"]) if "seen_at" in held else now
        self._fired, self._anchors = (  # by job: the last moment that is dealt with; what distances are counted from
            {job: datetime.fromisoformat(at) for job, at in held.get(part, {}).items() if job in self._plans}
            for part in ("fired", "anchors")
        )
        self._wishes = {
            job: _Wish(**wish) for job, wish in held.get("wishes", {}).items() if _stream_of(job) in self._plans
        }
        self._missed: dict[str, Run] = {}  # by job: the record that further moments with the same reason add to
        self._news: dict[int, Run] = {}  # records not taken yet, by number
        self._has_changed = False
        self._why_away = ""
        self._moments: dict[str, Moments] = {}
        for job, plan in self._plans.items():
            if plan.every is not None and job not in self._anchors:
                self._anchors[job] = now
                self._wish(job, _Wish(plan.kind, "the first"))
            if moments := moments_of(plan, anchor=self._anchors.get(job, now)):
                self._moments[job] = moments
        self._look_back(now)

    # -- what happens

    def away(self, why: str) -> None:
        """Nobody could look since the last `due`, and why."""
        self._why_away = why

    def due(self, now: datetime, *, active: Mapping[str, Run], hindrance: str | None) -> list[Start]:
        """The runs that begin now.

        Args:
            now: the time.
            active: the run that is under way, by stream.
            hindrance: why none may begin now; None: nothing is in the way.
        """
        if now < self._seen_at:
            self._step_back(now)
        for job, plan in self._plans.items():
            moments = self._between(job, self._seen_at, now)
            if not moments:
                continue
            if len(moments) > 1:
                self._miss(
                    job, moments[:-1], self._why_away or "the clock was set forward, or one question took as long"
                )
            self._fire(plan, moments[-1], active=active, hindrance=hindrance)
        self._seen_at, self._why_away = max(now, self._seen_at), ""
        return self._begin(active, hindrance)

    def ask(self, stream: str, kind: RunKind, *, actor: str) -> None:
        """Somebody wants a run; it begins as soon as one may."""
        plan = Plan(stream, kind)
        self._wish(plan.job, _Wish(kind, f"asked for by {actor}"))

    def withdraw(self, stream: str) -> bool:
        """What waits for a stream is not wanted any more; True where something waited."""
        jobs = [job for job in self._wishes if _stream_of(job) == stream]
        for job in jobs:
            del self._wishes[job]
            self._has_changed = True
        return bool(jobs)

    def ended(self, run: Run) -> None:
        """A run has ended: those that follow it are owed, or leave a record of why they are not."""
        if run.kind == "sweep":
            return
        for job, plan in self._plans.items():
            if plan.after != run.stream:
                continue
            if run.state == "done":
                self._wish(job, _Wish(plan.kind, plan.text))
            else:
                at = run.ended_at or run.started_at
                self._miss(job, [at], f"run {run.number} of {run.stream}, which it follows, {_ENDS[run.state]}")

    # -- what is to be stored

    def drain(self) -> tuple[Run, ...]:
        """Records of moments without a run, since the last call; one comes again when moments were added to it."""
        found, self._news = tuple(self._news.values()), {}
        return found

    @property
    def has_news(self) -> bool:
        """Whether there is something that must not be lost."""
        return self._has_changed or bool(self._news)

    def memory(self) -> dict[str, Any]:
        """What must be stored; JSON-able."""
        self._has_changed = False
        return {
            "seen_at": self._seen_at.isoformat(),
            "fired": {job: at.isoformat() for job, at in self._fired.items()},
            "anchors": {job: at.isoformat() for job, at in self._anchors.items()},
            "wishes": {job: asdict(wish) for job, wish in self._wishes.items()},
        }

    # -- what is to come

    def next_at(self, now: datetime, stream: str | None = None) -> datetime | None:
        """When the next run is to begin, of one stream or of any; `now` where one is owed; None: nothing is planned."""
        jobs = [job for job in self._plans if stream is None or _stream_of(job) == stream]
        if any(job in self._wishes for job in jobs):
            return now
        found = [at for job in jobs if (at := self._next_of(job, max(now, self._seen_at))) is not None]
        return min(found, default=None)

    def waits(self, stream: str) -> str | None:
        """The cause of a run of the stream that is owed and waits; None where none is."""
        return next((wish.cause for job, wish in self._wishes.items() if _stream_of(job) == stream), None)

    # -- what these are made of

    def _begin(self, active: Mapping[str, Run], hindrance: str | None) -> list[Start]:
        starts: dict[str, Start] = {}
        for job, wish in sorted(self._wishes.items(), key=lambda item: item[1].kind == "sweep"):
            stream = _stream_of(job)
            if hindrance is None and stream not in active and stream not in starts:
                starts[stream] = Start(stream, wish.kind, wish.cause)
                del self._wishes[job]
                self._missed.pop(job, None)
                self._has_changed = True
        return list(starts.values())

    def _fire(self, plan: Plan, moment: datetime, *, active: Mapping[str, Run], hindrance: str | None) -> None:
        self._fired[plan.job] = moment
        run = active.get(plan.stream)
        if run is not None and (plan.kind != "sweep" or run.kind == "sweep"):  # a sweep waits for a run
            kept = f", kept by: {hindrance}" if hindrance is not None else ""
            self._miss(plan.job, [moment], f"run {run.number} was still under way{kept}")
        elif hindrance is not None:
            self._miss(plan.job, [moment], hindrance)
            self._catch_up(plan)
        elif plan.job not in self._wishes:
            self._wish(plan.job, _Wish(plan.kind, plan.text))

    def _look_back(self, now: datetime) -> None:
        """Moments since anybody looked brought no run: say so, and make up for them where that is wanted."""
        for job, plan in self._plans.items():
            moments = self._between(job, self._seen_at, now)
            if moments:
                self._miss(job, moments, "the bridge was down")
                self._fired[job] = moments[-1]
                self._catch_up(plan)
        self._seen_at = max(now, self._seen_at)

    def _catch_up(self, plan: Plan) -> None:
        if plan.catch_up == "once" and plan.job not in self._wishes:
            self._wish(plan.job, _Wish(plan.kind, f"{plan.text}, to make up for what was missed"))

    def _wish(self, job: str, wish: _Wish) -> None:
        self._wishes[job] = wish
        self._has_changed = True

    def _miss(self, job: str, moments: Sequence[datetime], why: str) -> None:
        plan, held = self._plans[job], self._missed.get(job)
        if held is not None and held.detail == why:
            record = replace(held, ended_at=moments[-1], moments=held.moments + len(moments))
        else:
            record = Run(
                self._source,
                self._number(),
                plan.stream,
                plan.kind,
                plan.text,
                "skipped",
                moments[0],
                ended_at=moments[-1],
                detail=why,
                moments=len(moments),
            )
        self._missed[job] = self._news[record.number] = record

    def _step_back(self, now: datetime) -> None:
        """The clock was set back. Distances are counted anew where they would grow; named hours do not come again."""
        step = self._seen_at - now
        for job, plan in self._plans.items():
            moments = self._moments.get(job)
            if plan.every is not None and step > plan.every:
                self._anchors[job] = now
                self._moments[job] = Every(plan.every, anchor=now)
                self._fired.pop(job, None)
            elif moments is not None and step > (SAME_DAY if moments.is_fixed else SAME_AGAIN):
                self._fired.pop(job, None)
        self._seen_at = now
        self._has_changed = True

    def _between(self, job: str, start: datetime, end: datetime) -> list[datetime]:
        """The moments of a job after `start` and not after `end`, with their delay, the newest of very many."""
        moments, fired = self._moments.get(job), self._fired.get(job)
        if moments is None:
            return []
        found = []
        for moment in between(moments, start - self._plans[job].jitter, end):
            at = moment + self._delay(job, moment)
            if start < at <= end and (fired is None or at > fired):
                found.append(at)
            if len(found) >= MOMENTS_LIMIT:
                break
        return sorted(found)

    def _next_of(self, job: str, now: datetime) -> datetime | None:
        moments, fired = self._moments.get(job), self._fired.get(job)
        moment = moments.after(now - self._plans[job].jitter) if moments else None
        while moments is not None and moment is not None:
            at = moment + self._delay(job, moment)
            if at > now and (fired is None or at > fired):
                return at
            moment = moments.after(moment)
        return None

    def _delay(self, job: str, moment: datetime) -> timedelta:
        """The same for the same moment for ever, so that a restart does not draw again."""
        jitter_us = self._plans[job].jitter // timedelta(microseconds=1)
        if not jitter_us:
            return timedelta(0)
        drawn = hashlib.blake2b(f"{self._source}/{job}/{moment.isoformat()}".encode(), digest_size=8).digest()
        return timedelta(microseconds=int.from_bytes(drawn) % jitter_us)


def _stream_of(job: str) -> str:
    return job.partition("/")[0]
