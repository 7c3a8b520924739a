"""Every way the bridge can fail, and what the program does about each.

Adapters translate foreign exceptions into these, once, with ``raise ... from``; the loops look only at ``reaction``.
An expected "no" (a rejected row, a refused command) is a value and has no class here.
"""

from typing import ClassVar, Literal

Reaction = Literal["wait", "park", "close", "stop"]


class BridgeError(Exception):
    """A failure with a stable code and a next step for the operator.

    Args:
        detail: what happened, with names and positions, never row values or secrets.
        hint: what to do next, where the class's own hint can be bettered.
    """

    code: ClassVar[str] = "bridge"
    reaction: ClassVar[Reaction] = "stop"
    default_hint: ClassVar[str] = "Report this with the output of `legacy-bridge doctor`."
    exit_code: ClassVar[int] = 70

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint or self.default_hint

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class ConfigError(BridgeError):
    """The configuration, a contract or a connector file is wrong; nothing was started."""

    code = "config.invalid"
    default_hint = "Mend the file and run `legacy-bridge check`."
    exit_code = 78


class NoSuchName(ConfigError):
    """The configuration names no such stream, system or sink."""

    code = "config.no_such_name"
    default_hint = "`legacy-bridge status` shows what there is."
    exit_code = 66


class SecretUnavailable(BridgeError):
    """A reference to a secret leads nowhere now; it will be read again (a file may be between two rotations)."""

    code = "secret.unavailable"
    reaction = "wait"
    default_hint = "Put the secret where its reference in bridge.yaml points; it is read again at the next attempt."
    exit_code = 78


class SourceUnavailable(BridgeError):
    """The legacy system cannot be reached now; it will be tried again.

    Args:
        detail: as everywhere.
        hint: as everywhere.
        retry_after_s: how long the system wants to be left alone (Retry-After); None when it did not say.
    """

    code = "source.unavailable"
    reaction = "wait"
    default_hint = "Check that the legacy system is up and that host, login and network are right."
    exit_code = 69

    def __init__(self, detail: str, *, hint: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.retry_after_s = retry_after_s


class SourceRefused(BridgeError):
    """The legacy system is reachable, but what it would allow or is set up for breaks one of our promises."""

    code = "source.refused"
    default_hint = "Have a DBA apply what `legacy-bridge dba-letter SYSTEM` says (change log: `dba-script SYSTEM`)."
    exit_code = 77


class PositionLost(BridgeError):
    """The source's history is not where we left it: slot lost or recreated, server restored or replaced.

    The source starts a new epoch: a gap is declared on each of its streams and a re-read is planned.
    """

    code = "source.position_lost"
    default_hint = "A gap is declared and a re-read planned; see `legacy-bridge status`."
    exit_code = 65


class MalformedRecord(BridgeError):
    """Bytes that do not follow their format; kept aside whole."""

    code = "record.malformed"
    reaction = "park"
    default_hint = "See `legacy-bridge dead list`."
    exit_code = 65


class JournalUnavailable(BridgeError):
    """The journal cannot be written now (disk full, locked, I/O error); nothing was confirmed to any source."""

    code = "journal.unavailable"
    reaction: ClassVar[Reaction] = "wait"
    default_hint = "Free disk space and check the disk below the journal's folder."
    exit_code = 74


class JournalLocked(JournalUnavailable):
    """Another process owns the journal."""

    code = "journal.locked"
    reaction = "stop"
    default_hint = "Stop the other daemon first, or use another journal."
    exit_code = 75


class JournalCorrupt(BridgeError):
    """Stored bytes are not what was written."""

    code = "journal.corrupt"
    default_hint = "Run `legacy-bridge journal verify`, then restore a backup; the source re-reads what is missing."
    exit_code = 65


class SinkUnavailable(BridgeError):
    """A receiver cannot be reached now, or asks to be left alone for a while.

    Args:
        detail: as everywhere.
        hint: as everywhere.
        retry_after_s: how long the receiver wants nothing more (Retry-After); None when it did not say.
    """

    code = "sink.unavailable"
    reaction = "wait"
    default_hint = "The cursor stands still; delivery resumes by itself."
    exit_code = 69

    def __init__(self, detail: str, *, hint: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.retry_after_s = retry_after_s


class SinkRefused(BridgeError):
    """A receiver said no to an event for good."""

    code = "sink.refused"
    reaction = "park"
    default_hint = "See `legacy-bridge dead list`."
    exit_code = 65


class SinkGone(BridgeError):
    """A receiver said that it wants nothing any more; the sink is switched off until an operator resumes it."""

    code = "sink.gone"
    default_hint = "Ask the receiver's owner, then `legacy-bridge sink resume SINK`; events are kept meanwhile."
    exit_code = 69


class Declined(BridgeError):
    """What was asked for cannot be done as things stand; nothing was changed."""

    code = "request.declined"
    default_hint = "See `legacy-bridge status`."
    exit_code = 1


class InternalError(BridgeError):
    """One of our own invariants broke."""

    code = "internal"
