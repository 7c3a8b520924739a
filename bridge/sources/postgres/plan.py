"""What the source remembers with its position: which server it reads, and how far each re-read has come.

Plain values with a JSON form; the journal stores them in the same transaction as the rows they speak of (I4).
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any


class Phase(StrEnum):
    """Where a re-read stands."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Reread:
    """One re-read of a table: the first load, a new table's, one after a gap, or one an operator asked for."""

    number: int  # unique within the source, part of the ids of its events
    phase: Phase = Phase.RUNNING
    key: tuple[str, ...] = ()  # columns it goes by; empty before the first chunk
    last: tuple[str, ...] | None = None  # key of the last row journalled; None before the first chunk
    rows: int = 0  # rows journalled
    of: int = 0  # about how many there are; 0: not known
    heals: bool = False  # follows a gap: keys it does not find were deleted in the gap


@dataclass(frozen=True, slots=True)
class State:
    """The source's own state."""

    system_id: str = ""  # of the server; a different one is a replaced server
    timeline: int = 0
    awaits: str = ""  # the loss after which a person decides how to go on; empty: none
    partial_lsn: int = 0  # commit LSN of the transaction journalled in part; 0: none
    next_number: int = 1  # of the next re-read
    rereads: Mapping[str, Reread] = field(default_factory=dict)  # by stream
    read_until: Mapping[str, int] = field(default_factory=dict)  # by stream: LSN; 0: still read

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> "State":
        """From its JSON form; {} is the state before the first start."""
        rereads = {
            stream: Reread(
                **{
                    **kept,
                    "phase": Phase(kept["phase"]),
                    "key": tuple(kept["key"]),
                    "last": kept["last"] and _load_key(kept["last"]),
                }
            )
            for stream, kept in stored.get("snapshots", {}).items()
        }
        rest = {name: value for name, value in stored.items() if name != "snapshots"}
        return cls(**rest, rereads=rereads)

    def dump(self) -> dict[str, Any]:
        """The JSON form; re-reads under the name operators know them by."""
        stored = asdict(self)
        stored["snapshots"] = {
            stream: {**reread, "key": list(reread["key"]), "last": reread["last"] and _dump_key(reread["last"])}
            for stream, reread in stored.pop("rereads").items()
        }
        return stored

    def reading(self, streams: Iterable[str], *, at: int) -> "State":
        """With these streams read from now on; one that no longer is was read until `at`."""
        until = {stream: ended or at for stream, ended in self.read_until.items()}
        return replace(self, read_until={**until, **dict.fromkeys(streams, 0)})

    def plan(self, stream: str, *, heals: bool = False) -> "State":
        """With a new re-read of the stream, in place of any former one; what that was to heal is healed by this one."""
        former = self.rereads.get(stream)
        planned = Reread(self.next_number, heals=heals or (former is not None and former.heals))
        return replace(self, next_number=self.next_number + 1, rereads={**self.rereads, stream: planned})

    def move(self, stream: str, **changes: Any) -> "State":  # noqa: ANN401  fields of Reread
        """With one re-read's fields changed."""
        return replace(self, rereads={**self.rereads, stream: replace(self.rereads[stream], **changes)})


def _dump_key(key: Iterable[str]) -> list[str | dict[str, str]]:
    """A key as JSON can hold it: text that is no UTF-8 (a SQL_ASCII database has such) as {"hex": its bytes}."""
    return [part if part.isascii() else _dump_part(part.encode("utf-8", "surrogateescape")) for part in key]


def _dump_part(raw: bytes) -> str | dict[str, str]:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"hex": raw.hex()}


def _load_key(stored: Iterable[str | Mapping[str, str]]) -> tuple[str, ...]:
    return tuple(
        part if isinstance(part, str) else bytes.fromhex(part["hex"]).decode("utf-8", "surrogateescape")
        for part in stored
    )
