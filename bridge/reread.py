"""Re-reads that operators ask for: handed to the source, and done when the journal holds what came of it."""

from collections.abc import Callable, Mapping
from typing import Any

from bridge.errors import Declined
from bridge.ports import Journal, Request

_PHASES_AFTER = {
    "pause": ("paused", "done", "cancelled"),
    "resume": ("running", "done", "cancelled"),
    "cancel": ("done", "cancelled"),
}


def begin(
    journal: Journal, request: Request, control: Callable[[str], None] | None, *, system: str
) -> Callable[[], dict[str, Any] | None]:
    """Hand a request on to the source.

    Returns: what tells the outcome; None from it: not yet.
    Raises: Declined.
    """
    stream = str(request.args.get("stream"))
    if control is None:
        raise Declined(f"stream {stream!r} is not read by this daemon", hint="See `legacy-bridge stream list`.")
    action = request.kind.partition(".")[2]
    before = _progress(journal, system, stream)
    if action != "start" and before.get("phase") not in ("running", "paused"):
        raise Declined(f"no re-read of {stream} is under way")
    control(action)

    def outcome() -> dict[str, Any] | None:
        now = _progress(journal, system, stream)
        is_new = now.get("number") != before.get("number")
        is_done = is_new if action == "start" else is_new or now.get("phase") in _PHASES_AFTER[action]
        return {"stream": stream, "number": now.get("number")} if is_done else None

    return outcome


def _progress(journal: Journal, system: str, stream: str) -> Mapping[str, Any]:
    """What the journal holds of the stream's re-read; empty when there never was one."""
    _, state = journal.position(system)
    found: Mapping[str, Any] = state.get("snapshots", {}).get(stream, {})
    return found
