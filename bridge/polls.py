"""Runs of polled streams that operators start and cancel: handed to the source, done when the journal says so."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, get_args, runtime_checkable

from bridge.errors import Declined
from bridge.extracted import RunKind
from bridge.ports import Journal, Request


@runtime_checkable
class Polling(Protocol):
    """What polls streams; callable from any thread."""

    name: str

    def ask(self, stream: str, kind: RunKind, *, actor: str) -> None:
        """Somebody wants a run; it begins as soon as one may. Raises: Declined."""

    def cancel(self, stream: str, *, actor: str) -> None:
        """Somebody wants the run of a stream ended, and none that waits. Raises: Declined."""


_KINDS: tuple[RunKind, ...] = get_args(RunKind)
Outcome = Callable[[], dict[str, Any] | None]


def begin(journal: Journal, request: Request, polling: Polling | None) -> Outcome:
    """Hand run.start or run.cancel on to the source.

    Returns: what tells the outcome; None from it: not yet.
    Raises: Declined.
    """
    stream = str(request.args.get("stream"))
    if polling is None:
        raise Declined(f"stream {stream!r} is not polled", hint="See `legacy-bridge stream list`.")
    return (_start if request.kind == "run.start" else _cancel)(journal, request, polling, stream)


def _start(journal: Journal, request: Request, polling: Polling, stream: str) -> Outcome:
    wanted = request.args.get("kind") or "run"
    kind: RunKind | None = next((one for one in _KINDS if one == wanted), None)
    if kind is None:
        raise Declined(f"{wanted!r} is no kind of run", hint=f"One of {', '.join(_KINDS)}.")
    before = _newest(journal, stream)
    polling.ask(stream, kind, actor=request.actor)

    def outcome() -> dict[str, Any] | None:
        for run in journal.runs(stream=stream, limit=10):
            if run.number > before and run.cause.endswith(request.actor):
                return {"stream": stream, "run": run.number, "kind": run.kind}
        waits = _wishes(journal, polling, stream)
        return {"stream": stream, "kind": kind, "waits": "until it may begin"} if waits else None

    return outcome


def _cancel(journal: Journal, request: Request, polling: Polling, stream: str) -> Outcome:
    running = next((run.number for run in journal.runs(stream=stream, limit=10) if run.state == "running"), None)
    if running is None and not _wishes(journal, polling, stream):
        raise Declined(f"no run of {stream} is under way or waits")
    polling.cancel(stream, actor=request.actor)

    def outcome() -> dict[str, Any] | None:
        runs = journal.runs(source=polling.name, number=running, limit=1) if running is not None else ()
        if any(run.state == "running" for run in runs) or _wishes(journal, polling, stream):
            return None
        return {"stream": stream, "cancelled": running}

    return outcome


def _newest(journal: Journal, stream: str) -> int:
    return max((run.number for run in journal.runs(stream=stream, limit=1)), default=0)


def _wishes(journal: Journal, polling: Polling, stream: str) -> list[Mapping[str, Any]]:
    """The runs of a stream that are owed, as the journal knows."""
    _, state = journal.position(polling.name)
    wishes: Mapping[str, Mapping[str, Any]] = state.get("timetable", {}).get("wishes", {})
    return [wish for job, wish in wishes.items() if job.partition("/")[0] == stream]


def polled_by(sources: Iterable[tuple[object, Iterable[str]]]) -> dict[str, Polling]:
    """What polls each stream.

    Args:
        sources: each source with its streams.
    """
    return {stream: source for source, streams in sources if isinstance(source, Polling) for stream in streams}
