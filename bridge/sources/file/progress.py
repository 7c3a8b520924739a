"""How far a system's files are: what the journal keeps with every window. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.model import Position
from bridge.sources.file.places import Listed

RECENT = 20  # files that are remembered for people


@dataclass(frozen=True, slots=True)
class Taking:
    """A file that is being taken, or was taken and is not put away yet."""

    name: str
    size: int  # as the folder showed it
    mtime_ns: int
    digest: str  # SHA-256
    ordinal: int  # files taken before it, and it
    streams: tuple[str, ...]  # that read it, in this order
    stream: int = 0  # which of them reads now; their number when all have
    offset: int | None = None  # where its next record begins; None where it begins
    number: int = 1  # of that record
    row_count: int = 0
    fault_count: int = 0

    @property
    def listed(self) -> Listed:
        """As the folder showed it."""
        return Listed(self.name, self.size, self.mtime_ns)

    @property
    def is_whole(self) -> bool:
        """Whether the journal holds all of it."""
        return self.stream >= len(self.streams)

    def next_stream(self) -> "Taking":
        """With this stream done."""
        return replace(self, stream=self.stream + 1, offset=None, number=1)

    def turned(self) -> "Taking":
        """After a step that read nothing: every step has a position of its own."""
        return replace(self, number=self.number + 1)

    def given_up(self) -> "Taking":
        """Behind the last stream, whatever was read."""
        return replace(self, stream=len(self.streams), offset=None, number=self.number + 1)

    def position(self, epoch: int) -> Position:
        """Where the source stands with it."""
        return Position(epoch, (self.ordinal, self.stream, self.offset or 0, self.number))


@dataclass(frozen=True, slots=True)
class Progress:
    """All of it."""

    epoch: int = 1
    ordinal: int = 0
    taking: Taking | None = None
    recent: tuple[Mapping[str, Any], ...] = field(default=())
    runs: int = 0  # files that were compared, each by each of its streams
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of streams that are compared

    @classmethod
    def load(cls, position: Position | None, state: Mapping[str, Any]) -> "Progress":
        """From the journal."""
        kept = state.get("taking")
        taking = Taking(**{**kept, "streams": tuple(kept["streams"])}) if kept else None
        epoch = position.epoch if position is not None else 1
        return cls(
            epoch,
            int(state.get("ordinal", 0)),
            taking,
            tuple(state.get("recent", ())),
            int(state.get("runs", 0)),
            state.get("tables", {}),
        )

    def dump(self) -> dict[str, Any]:
        """For the journal."""
        taking = self.taking
        return {
            "ordinal": self.ordinal,
            "taking": None if taking is None else {
                "name": taking.name, "size": taking.size, "mtime_ns": taking.mtime_ns, "digest": taking.digest,
                "ordinal": taking.ordinal, "streams": list(taking.streams), "stream": taking.stream,
                "offset": taking.offset, "number": taking.number,
                "row_count": taking.row_count, "fault_count": taking.fault_count,
            },
            "recent": list(self.recent),
            "runs": self.runs,
            "tables": dict(self.tables),
        }  # fmt: skip

    def told(self, what: Mapping[str, Any]) -> "Progress":
        """With one more file to remember."""
        return replace(self, recent=(*self.recent, what)[-RECENT:])
