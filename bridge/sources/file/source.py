"""The files of one system: see `ports.Source`.

A file is taken once and whole: copied when it is complete, known by the SHA-256 of its content, read in pieces whose
place stands in the journal with their rows, and put away after the commit that holds its end. After a crash it is gone
on with where the journal stands, in the same content or not at all. `work` says how, step by step.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bridge.errors import InternalError, SourceRefused
from bridge.extracted import Extracted
from bridge.extraction.stored import Images
from bridge.findings import Finding, Level
from bridge.gap import gap_batch
from bridge.model import Position, Window
from bridge.sources.file import dumps
from bridge.sources.file.dumps import Comparing, Table
from bridge.sources.file.mapping import RecordMapper, position_of
from bridge.sources.file.places import Place
from bridge.sources.file.progress import Progress
from bridge.sources.file.steps import IDLE, Known, Memory, Outcome, Pause, Settings
from bridge.sources.file.work import Work

_SHOWN_FILES = 3


class FileSource:
    """The files of one system.

    Args:
        name: of the system.
        settings: how they are taken.
        mappers: by stream.
        place: opens the folder.
        known: looks ids up in the journal.
        count: told what became of a file.
        compares: the streams whose files are compared, each with the one before.
        images: the journal's images of those.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        mappers: Mapping[str, RecordMapper],
        *,
        place: Callable[[], Place],
        known: Known,
        count: Callable[[Outcome], None] = lambda _outcome: None,
        compares: Mapping[str, Comparing] | None = None,
        images: Images = lambda _stream, _generation, _parts: iter(()),
    ) -> None:
        self.name = name
        self._settings = settings
        self._mappers = mappers
        self._make_place = place
        self._known = known
        self._count = count
        self._compares = compares or {}
        self._images = images
        self._tables: Mapping[str, Table] = {}
        self._place: Place | None = None
        self._work: Work | None = None
        self._steps: Iterator[Window | Pause] = iter(())
        self._told = threading.Event()  # something was confirmed
        self._memory = Memory.of(settings)

    def open(self, position: Position | None, state: Mapping[str, Any]) -> None:
        """See the port. Raises: SourceUnavailable."""
        self.close()
        self._place = self._make_place()
        progress = Progress.load(position, state)
        self._tables = self._made(progress)
        self._work = Work(
            self.name,
            self._settings,
            self._mappers,
            self._tables,
            place=self._place,
            known=self._known,
            count=self._count,
            memory=self._memory,
        )
        self._work.confirmed = position
        self._steps = self._work.steps(progress)

    def read(self, timeout_s: float, *, is_busy: Callable[[], bool]) -> Window | None:  # noqa: ARG002  pieces are large
        """See the port. Raises: SourceUnavailable, PositionLost, SourceRefused; JournalUnavailable for its look-ups."""
        until = time.monotonic() + timeout_s
        while True:
            self._told.clear()
            step = next(self._steps, None)
            if isinstance(step, Window) or step is None:
                return step
            left = until - time.monotonic()
            if step.until_told:
                pause = self._settings.poll_s if step is IDLE else left
                self._told.wait(max(0.0, min(left, pause)))
            if time.monotonic() >= until:
                return None

    def confirm(self, position: Position) -> None:
        """See the port: a file whose end the journal holds is put away soon."""
        if self._work is not None:
            self._work.confirmed = position
        self._told.set()

    def renew(self, position: Position | None, state: Mapping[str, Any], cause: str) -> Window:
        """Declare the rest of a file whose content is gone as missing."""
        progress = Progress.load(position, state)
        taking = progress.taking
        if taking is None:
            raise InternalError(f"system {self.name} has lost nothing")
        tables, rest = self._made(progress), taking.streams[taking.stream :]
        given_up = [tables[stream].fail(f"{taking.name}: {cause}") for stream in rest if stream in tables]
        kept = {**progress.tables, **{stream: tables[stream].dump() for stream in rest if stream in tables}}
        after = replace(progress, epoch=progress.epoch + 1, taking=None, tables=kept)
        batches = [
            gap_batch(
                stream,
                self._mappers[stream].origin,
                position=position_of(taking.ordinal, taking.digest),
                places=(f"{taking.name} record {taking.number if at == 0 else 1}", f"{taking.name} end"),
                cause=cause,
                plan="the file is to be sent again by its system",
            )
            for at, stream in enumerate(rest)
            if stream in self._mappers and stream not in tables  # a table's next file says what this one would have
        ]
        extracted = Extracted(
            forgotten=tuple(one for each in given_up for one in each.forgotten),
            runs=tuple(run for each in given_up for run in each.runs),
        )
        position_after = Position(after.epoch, (after.ordinal, 0, 0, 0))
        return Window(tuple(batches), position_after, after.dump(), extracted=extracted)

    def _made(self, progress: Progress) -> dict[str, Table]:
        return {
            stream: Table(self.name, self._mappers[stream], how, self._images, kept=progress.tables.get(stream))
            for stream, how in self._compares.items()
        }

    def keep_alive(self) -> None:
        """A session that ended is opened again when it is needed."""

    def control(self, action: str, stream: str) -> None:  # noqa: ARG002
        """A file is taken once. Raises: SourceRefused."""
        raise SourceRefused(
            f"stream {stream} is read from files, and each is taken once",
            hint="Have its system write a new file; one of the very same content is not taken again.",
        )

    def findings(self) -> Sequence[Finding]:
        """Files that were refused, and files that never stand still."""
        found = []
        if self._memory.refused:
            shown = [f"{name}: {why}" for name, why in list(self._memory.refused.items())[:_SHOWN_FILES]]
            more = len(self._memory.refused) - len(shown)
            found.append(
                Finding(
                    Level.WARN,
                    "file.refused",
                    self.name,
                    "; ".join(shown) + (f"; and {more} more" if more else ""),
                    "Mend the file or its layout and put it there again, or move it away.",
                )
            )
        if self._memory.growing:
            found.append(
                Finding(
                    Level.WARN,
                    "file.growing",
                    self.name,
                    f"{', '.join(self._memory.growing[:_SHOWN_FILES])} has not stood still for ten minutes",
                    "See whether its writer hangs; files behind it wait.",
                )
            )
        return [*found, *dumps.findings(self.name, self._tables.values())]

    def interrupt(self) -> None:
        """End what is being asked of a server; called from any thread."""
        self._told.set()
        if (place := self._place) is not None:
            place.interrupt()

    def observation(self) -> None:
        """There is nothing to look at."""

    def close(self) -> None:
        """See the port."""
        self._steps = iter(())
        if self._place is not None:
            self._place.close()
            self._place = None
