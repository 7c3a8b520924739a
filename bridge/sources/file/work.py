"""Taking files, step by step: what `FileSource` does in its thread.

Every step is short: a piece copied, a piece read, or nothing to do; so whoever asks for steps can show signs of life.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from bridge.errors import PositionLost, SourceRefused, SourceUnavailable
from bridge.extracted import Extracted
from bridge.model import Position, RawBatch, Window
from bridge.resilience.failpoint import reach
from bridge.sources.file.dumps import Table
from bridge.sources.file.layout import FileRefused
from bridge.sources.file.mapping import RecordMapper
from bridge.sources.file.pieces import next_piece
from bridge.sources.file.places import Listed, Place
from bridge.sources.file.progress import Progress, Taking
from bridge.sources.file.reading import Reader
from bridge.sources.file.spool import Spool, Spooled
from bridge.sources.file.steps import BUSY, HELD, IDLE, Known, Memory, Outcome, Settings, Step

_log = structlog.get_logger()
_LOOK_SHARE = 10  # a list is good for as many times as long as it took, so that a long one is not read for each file


class Work:
    """The steps of one opened source.

    Args:
        name: of the system.
        settings: how files are taken.
        mappers: by stream.
        tables: of the streams whose files are compared.
        place: the folder.
        known: looks ids up in the journal.
        count: told what became of a file.
        memory: what was seen before.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        mappers: Mapping[str, RecordMapper],
        tables: Mapping[str, Table],
        *,
        place: Place,
        known: Known,
        count: Callable[[Outcome], None],
        memory: Memory,
    ) -> None:
        self.name = name
        self.confirmed: Position | None = None  # the journal holds everything up to here; written by another thread
        self._settings = settings
        self._mappers = mappers
        self._tables = tables
        self._place = place
        self._known = known
        self._count = count
        self._memory = memory
        self._pickup = memory.pickup
        self._spool = Spool(settings.spool, limit_bytes=settings.limit_bytes)
        self._progress = Progress()
        self._given: Position | None = None  # of the last window

    def steps(self, progress: Progress) -> Iterator[Step]:
        """Go on from where the journal stands, for ever."""
        self._progress = progress
        yield from self._resume()
        looked_at = float("-inf")
        while True:
            if time.monotonic() - looked_at < self._settings.poll_s:
                yield IDLE
                continue
            began = time.monotonic()
            files = self._place.look()
            looked_at = time.monotonic()
            fresh_s = max(self._settings.poll_s, _LOOK_SHARE * (looked_at - began))
            if (yield from self._take_all(files, until=looked_at + fresh_s)):
                looked_at = float("-inf")

    def _take_all(self, files: Sequence[Listed], *, until: float) -> Generator[Step, None, bool]:
        """Take what can be taken while the list is fresh. Returns: whether there was anything."""
        present = {listed.shown for listed in files}
        self._memory.refused = {name: why for name, why in self._memory.refused.items() if name in present}
        ready = self._pickup.ready(files)
        self._memory.growing = self._pickup.growing()
        for listed in ready:
            yield from self._take(listed, self._pickup.beside(listed, files))
            if time.monotonic() > until:
                break
        if not ready:
            yield IDLE
        return bool(ready)

    def _take(self, listed: Listed, beside: Listed | None) -> Iterator[Step]:
        if listed.oddity is not None:
            yield from self._refuse(listed, listed.oddity)
            return
        if self._place.stat(listed.name) != listed:  # it was looked at a while ago
            self._pickup.unsettle(listed)
            return
        if self._settings.after == "leave" and self._known([_seen(listed)]):
            self._pickup.pass_over(listed)
            return
        self._memory.refused.pop(listed.name, None)
        try:
            spooled = yield from self._copied(listed, beside)
            if spooled is None:
                return
            streams = self._pickup.streams_of(listed.name)
            ids = self._known([f"sha256:{spooled.digest}", f"name:{listed.name}"])
            if self._is_double(listed, streams, spooled.digest, is_known=f"sha256:{spooled.digest}" in ids):
                yield from self._tell(listed, spooled.digest, "duplicate")
                self._put_away(listed)
                return
            self._allow_name(is_known=f"name:{listed.name}" in ids)
            self._allow_place(listed, streams, spooled)
            taking = Taking(
                listed.name,
                listed.size,
                listed.mtime_ns,
                spooled.digest,
                self._progress.ordinal + 1,
                streams,
            )
            readers = yield from self._readers(taking, spooled)
        except FileRefused as refused:
            yield from self._refuse(listed, str(refused))
            return
        yield from self._read(taking, readers)

    def _allow_name(self, *, is_known: bool) -> None:
        if is_known and self._settings.refuses_same_name:
            raise FileRefused("a file of this name was taken, and it had another content")

    def _is_double(self, listed: Listed, streams: Sequence[str], digest: str, *, is_known: bool) -> bool:
        """Whether a content was taken: of tables the last one counts, for they may become again what they were."""
        tables = [self._tables[stream] for stream in streams if stream in self._tables]
        if not tables:
            return is_known
        is_double = all(table.has_seen(digest) for table in tables)
        if is_double:
            for table in tables:
                if not table.is_behind(listed, by_time=self._settings.by_time):
                    table.move_on(listed, digest)
            self._keep_tables(streams)
        return is_double

    def _allow_place(self, listed: Listed, streams: Sequence[str], spooled: Spooled) -> None:
        compared = [stream for stream in streams if stream in self._tables]
        appended = [stream for stream in streams if stream not in self._tables and stream in self._mappers]
        if compared and appended:
            both = f"stream {compared[0]} compares it and stream {appended[0]} appends it"
            raise FileRefused(f"{both}: after a failure it could not be taken again; give both one `mode`")
        for table in (self._tables[stream] for stream in compared):
            if table.is_behind(listed, by_time=self._settings.by_time) and table.last is not None:
                by = "time" if self._settings.by_time else "name"
                raise FileRefused(f"by its {by} it comes before {table.last.name}, which was compared: it is outdated")
        if compared and not spooled.path.stat().st_size:
            raise FileRefused("it is empty, and every file of this stream holds a whole table")

    def _keep_tables(self, streams: Sequence[str]) -> None:
        mine = {stream: self._tables[stream].dump() for stream in streams if stream in self._tables}
        self._progress = replace(self._progress, tables={**self._progress.tables, **mine})

    def _copied(self, listed: Listed, beside: Listed | None) -> Generator[Step, None, Spooled | None]:
        spooled: Spooled | None = None
        for step in self._spool.copy(self._place, listed, beside):
            spooled = step
            yield BUSY
        reach("file.copied")
        changed = [one for one in (listed, beside) if one is not None and self._place.stat(one.name) != one]
        for one in changed:
            _log.info("file.changed", system=self.name, file=one.name)
            self._pickup.unsettle(listed)
        if changed or spooled is None:
            return None
        size = listed.size + (beside.size if beside is not None else 0)
        if spooled.came != size:
            raise SourceUnavailable(
                f"{listed.name}: {spooled.came} bytes came of {size}", hint="It is asked for again; look at the server."
            )
        return spooled

    def _readers(self, taking: Taking, spooled: Spooled) -> Generator[Step, None, dict[str, Reader]]:
        """Every stream's view of the file, each held to its layout before anything is journalled."""
        readers: dict[str, Reader] = {}
        if spooled.path.stat().st_size:
            for stream in (stream for stream in taking.streams if stream in self._mappers):  # else it is gone
                mapper = self._mappers[stream]
                reader = Reader(spooled.path, mapper.layout)
                mapper.shape(reader.format)
                for _ in reader.check():
                    yield BUSY
                readers[stream] = reader
        return readers

    def _read(self, taking: Taking, readers: Mapping[str, Reader]) -> Iterator[Step]:
        """The windows of a file from where it stands, then put it away."""
        while not taking.is_whole:
            stream = taking.streams[taking.stream]
            if stream in self._tables and stream in readers:
                try:
                    window, taking = yield from self._compared(taking, readers[stream], self._tables[stream])
                except FileRefused as refused:
                    yield from self._give_up(taking, str(refused))
                    return
            else:
                window, taking = self._window(taking, readers.get(stream))
            self._progress = replace(self._progress, ordinal=taking.ordinal, taking=taking)
            yield window
        while self.confirmed is None or self.confirmed < taking.position(self._progress.epoch):
            yield HELD  # I1: nothing is put away that the journal does not hold
        _log.info("file.taken", system=self.name, file=taking.name, rows=taking.row_count, faults=taking.fault_count)
        self._count("taken")
        self._put_away(taking.listed)

    def _window(self, taking: Taking, reader: Reader | None) -> tuple[Window, Taking]:
        batch: RawBatch | None = None
        size, is_last = 0, True
        if reader is not None:
            piece = next_piece(self._mappers[taking.streams[taking.stream]], reader, taking)
            batch, size, taking, is_last = piece.batch, piece.size, piece.taking, piece.is_last
        if is_last:
            taking = taking.next_stream()
        return self._packed(taking, () if batch is None else (batch,), size), taking

    def _compared(self, taking: Taking, reader: Reader, table: Table) -> Generator[Step, None, tuple[Window, Taking]]:
        """The next window of a file that is compared with the one before. Raises: FileRefused, SourceRefused."""
        if table.begin(taking, number=self._progress.runs + 1):
            self._progress = replace(self._progress, runs=self._progress.runs + 1)
        while table.needs_journal and not self._is_settled():
            yield HELD
        reach("file.before_compare")
        found = table.advance(taking, reader)
        self._keep_tables(taking.streams[taking.stream : taking.stream + 1])
        batches = () if found.raw is None else (found.raw,)
        return self._packed(found.taking, batches, found.size, extracted=found.extracted), found.taking

    def _is_settled(self) -> bool:
        return self._given is None or (self.confirmed is not None and self.confirmed >= self._given)

    def _give_up(self, taking: Taking, why: str) -> Iterator[Step]:
        """A file that cannot be what it should be stays where it is, for people to look at."""
        stream = taking.streams[taking.stream]
        extracted = self._tables[stream].fail(f"{taking.name}: {why}")
        self._keep_tables([stream])
        self._spool.drop()
        self._pickup.pass_over(taking.listed)
        self._memory.refused[taking.name] = why
        _log.warning("file.refused", system=self.name, file=taking.name, why=why)
        self._count("refused")
        self._progress = self._progress.told(_record(taking.listed, taking.digest, "refused", taking))
        self._progress = replace(self._progress, ordinal=taking.ordinal, taking=None)
        self._given = taking.given_up().position(self._progress.epoch)
        yield Window((), self._given, self._progress.dump(), extracted=extracted)

    def _packed(
        self, taking: Taking, batches: tuple[RawBatch, ...], size: int, *, extracted: Extracted | None = None
    ) -> Window:
        progress = replace(self._progress, ordinal=taking.ordinal, taking=taking)
        received: tuple[str, ...] = ()
        if taking.is_whole:
            progress = self._progress = progress.told(_record(taking.listed, taking.digest, "taken", taking))
            received = (f"name:{taking.name}", _seen(taking.listed))
            received += (f"sha256:{taking.digest}",) if taking.size else ()
        self._given = taking.position(progress.epoch)
        return Window(
            batches,
            self._given,
            progress.dump(),
            size_bytes=size,
            extracted=extracted,
            received=received,
            received_until=datetime.now(UTC) + self._settings.remember if received else None,
        )

    def _resume(self) -> Iterator[Step]:
        """Go on with what the journal stands in the middle of."""
        taking = self._progress.taking
        if taking is None:
            return
        if taking.is_whole:
            self._put_away(taking.listed)  # nothing happens where it was
            return
        spooled = self._spool.found(taking.digest, taking.size)
        if spooled is None:
            spooled = yield from self._fetched_again(taking)
        try:
            readers = yield from self._readers(taking, spooled)
        except FileRefused as refused:
            raise SourceRefused(
                f"{taking.name} cannot be gone on with from record {taking.number}: {refused}",
                hint="Put the layout back as it was until the file is taken.",
            ) from refused
        yield from self._read(taking, readers)

    def _fetched_again(self, taking: Taking) -> Generator[Step, None, Spooled]:
        listed = self._place.stat(taking.name)
        spooled = None
        if listed is not None:
            try:
                spooled = yield from self._copied(listed, self._pickup.beside(listed, self._place.look()))
            except FileRefused:
                spooled = None
        if spooled is not None and spooled.digest == taking.digest:
            return spooled
        what = f"{taking.name}: the content of which {taking.number - 1} records were read is gone"
        if self._settings.stops_when_lost:
            raise SourceRefused(what, hint="Put the file back as it was, under its name.")
        raise PositionLost(what)

    # -- ends

    def _put_away(self, listed: Listed) -> None:
        """Do with a file that was taken what is configured, unless it has changed meanwhile."""
        self._spool.drop()
        if self._settings.after == "leave" or self._place.stat(listed.name) != listed:
            self._pickup.pass_over(listed)
            return
        reach("file.before_archive")
        if self._settings.done is not None:  # first: it must not stand beside another file of this name
            self._place.delete(listed.name + self._settings.done)
        memo = self._pickup.beside(listed, self._place.look()) if listed.name.lower().endswith(".dbf") else None
        for name in (*([memo.name] if memo is not None else []), listed.name):
            if self._settings.after == "delete":
                self._place.delete(name)
            else:
                self._place.archive(name, self._settings.archive)
        reach("file.after_archive")

    def _refuse(self, listed: Listed, why: str) -> Iterator[Step]:
        self._spool.drop()
        self._pickup.pass_over(listed)
        self._memory.refused[listed.shown] = why
        yield from self._tell(listed, "", "refused", why=why)

    def _tell(self, listed: Listed, digest: str, outcome: Outcome, *, why: str = "") -> Iterator[Step]:
        """Say what became of a file that is not taken; the journal learns it where it stands."""
        _log.warning(f"file.{outcome}", system=self.name, file=listed.shown, **({"why": why} if why else {}))
        self._count(outcome)
        self._progress = self._progress.told(_record(listed, digest, outcome))
        if self.confirmed is not None:
            yield Window((), self.confirmed, self._progress.dump())


def _seen(listed: Listed) -> str:
    return f"seen:{listed.size}:{listed.mtime_ns}:{listed.name}"


def _record(listed: Listed, digest: str, outcome: Outcome, taking: Taking | None = None) -> dict[str, Any]:
    return {
        "name": listed.shown,
        "size": listed.size,
        "sha256": digest,
        "outcome": outcome,
        "rows": taking.row_count if taking is not None else None,
        "faults": taking.fault_count if taking is not None else None,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
