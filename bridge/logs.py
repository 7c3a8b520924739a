"""Text for people: one event, one line, as JSON or readable text.

A line is an event name, lowercase and dotted, and fields. Whatever a caller passes, no line holds a secret or a row
value: fields are plain values only (any other object is written as its type), keys and texts that look like credentials
are hidden, foreign exceptions lose their message, and control characters are escaped so that a legacy name cannot forge
a line.
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from datetime import date, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from bridge.config.secrets import HIDDEN, Secret, is_secret_name, redact
from bridge.errors import BridgeError

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_TEXT_LIMIT = 2_000  # characters of one field
_FRAME_LIMIT = 30  # innermost frames of a traceback

_threshold = _LEVELS["info"]


def configure(*, level: str, form: Literal["json", "text", "auto"], stream: TextIO = sys.stdout) -> None:
    """Send every log line of the process, libraries included, to `stream`.

    Args:
        level: least level written; `set_level` changes it later.
        form: auto = text on a terminal, else JSON.
        stream: where lines go; one that cannot be written loses them silently.
    """
    set_level(level)
    as_text = form == "text" or (form == "auto" and stream.isatty())
    structlog.configure(
        processors=[
            _drop_below_threshold,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _explain_error,
            _make_safe,
            _render_text if as_text else _render_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS["debug"]),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


def set_level(level: str) -> None:
    """Change the least level written, at once and everywhere."""
    global _threshold  # noqa: PLW0603  one process, one level
    _threshold = _LEVELS[level]


class Repeating:
    """Says a lasting failure once per `every_s` with a count, then one "recovered".

    One for each thing that can fail; used by one thread. A failure of another kind is news and is said at once. What
    fails and recovers by turns is no news more often than that: turns in between are counted with the next one said.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        *,
        failed: str,
        recovered: str,
        every_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._failed = failed
        self._recovered = recovered
        self._every_s = every_s
        self._clock = clock
        self._kind: object = None
        self._count = 0
        self._is_told = False  # that it fails
        self._since = self._said = 0.0

    def failure(self, error: BaseException, **fields: object) -> None:
        """Report one more failure."""
        now, kind = self._clock(), type(error)
        if self._count == 0:
            self._since = now
        self._count += 1
        if kind == self._kind and now - self._said < self._every_s:
            return
        self._kind, self._said, self._is_told = kind, now, True
        waits = isinstance(error, BridgeError) and error.reaction == "wait"
        say = self._log.warning if waits else self._log.error
        say(self._failed, error=error, count=self._count, failing_s=round(now - self._since, 1), **fields)

    def success(self, **fields: object) -> None:
        """Report that it works; says so only after a failure."""
        if self._is_told:
            failed_s = round(self._clock() - self._since, 1)
            self._log.info(self._recovered, count=self._count, failed_s=failed_s, **fields)
            self._count, self._is_told = 0, False


def printable(text: str) -> str:
    """Escape whatever is not printable (line breaks, ANSI, bidirectional marks) and cut what is too long."""
    cut = text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]}…"
    return cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)


class _Lines:
    """Writes finished lines; a log that cannot be written must not stop the bridge."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


class _Forward(logging.Handler):
    """Takes what libraries log through the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        level = next(name for name, number in reversed(_LEVELS.items()) if record.levelno >= number or number == 10)  # noqa: PLR2004
        error = record.exc_info[1] if record.exc_info else None
        fields = {"error": error} if error is not None else {}
        log = structlog.get_logger()
        getattr(log, level)("library.message", library=record.name, message=record.getMessage(), **fields)


def _drop_below_threshold(_logger: object, method: str, event: EventDict) -> EventDict:
    if _LEVELS.get(method, _LEVELS["error"]) < _threshold:
        raise structlog.DropEvent
    return event


def _explain_error(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Turn `error` (or exc_info) into text: ours whole with its hint, a foreign one as type and frames."""
    raised = event.pop("exc_info", None)
    error = event.get("error")
    if raised and error is None:
        error = raised if isinstance(raised, BaseException) else sys.exc_info()[1]
    if isinstance(error, BridgeError):
        event["error"], event["hint"] = str(error), error.hint
    elif isinstance(error, BaseException):
        event["error"] = str(error) if isinstance(error, OSError) else type(error).__qualname__
        frames = traceback.extract_tb(error.__traceback__)[-_FRAME_LIMIT:]
        event["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return event


def _make_safe(_logger: object, _method: str, event: EventDict) -> EventDict:
    """The last line of defence against secrets, row values and forged lines."""
    return {printable(str(key)): _safe(value, name=str(key)) for key, value in event.items()}


def _safe(value: object, *, name: str = "") -> object:
    if isinstance(value, Secret) or (is_secret_name(name) and value is not None):
        return HIDDEN
    if isinstance(value, Mapping):
        return {printable(str(key)): _safe(inner, name=str(key)) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_safe(inner) for inner in value]
    return _plain(value.value if isinstance(value, Enum) else value)


def _plain(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, date):  # and datetime
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (str, PurePath)):
        return printable(redact(str(value)))
    return f"<{type(value).__qualname__}>"  # a batch, a row, a connection: never its content


def _render_json(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    first = {name: event.pop(name) for name in ("timestamp", "level", "event")}
    return json.dumps(first | dict(event))


def _render_text(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    first = f"{event.pop('timestamp')} {event.pop('level'):<8} {event.pop('event')}"
    return " ".join([first, *(f"{name}={_word(value)}" for name, value in event.items())])


def _word(value: object) -> str:
    if isinstance(value, str) and value and not set(value) & set(" \"'="):
        return value
    return json.dumps(value, ensure_ascii=False)
