"""The part of the in-memory journal that extraction uses."""

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from bridge.extracted import Charge, Extracted, ImageBlock, Part, Run
from bridge.model import AuditEntry


class MemoryExtraction:
    """Images, runs and bills, without a disk."""

    def __init__(self) -> None:
        """Start empty."""
        self._images: list[ImageBlock] = []
        self._runs: dict[tuple[str, int], Run] = {}
        self._bill: dict[tuple[datetime, str, str], Charge] = {}

    @abstractmethod
    def keep(
        self, kind: str, values: Mapping[str, Mapping[str, Any] | None], *, audit: Sequence[AuditEntry] = ()
    ) -> None:
        """See the port."""

    def image(self, stream: str, generation: int, parts: Collection[Part]) -> Iterator[ImageBlock]:
        """See the port."""
        for block in tuple(self._images):
            if (block.stream, block.generation) == (stream, generation) and block.part in parts:
                yield block

    def runs(
        self, *, stream: str | None = None, source: str | None = None, number: int | None = None, limit: int = 100
    ) -> list[Run]:
        """See the port."""
        found = [
            run
            for run in self._runs.values()
            if stream in {None, run.stream} and source in {None, run.source} and number in {None, run.number}
        ]
        return sorted(found, key=lambda run: (run.started_at, run.number), reverse=True)[:limit]

    def bill(self, *, system: str | None = None, since: datetime) -> list[Charge]:
        """See the port."""
        first = since.replace(minute=0, second=0, microsecond=0)
        return [
            charge for (hour, name, _), charge in sorted(self._bill.items()) if hour >= first and system in {None, name}
        ]

    def _extract(self, extracted: Extracted, judged: Mapping[str, tuple[int, int]]) -> None:
        for old in extracted.forgotten:
            self._images = [
                block
                for block in self._images
                if block.stream != old.stream
                or (old.generation is not None and block.generation > old.generation)
                or (old.part is not None and block.part != old.part)
            ]
        self._images += extracted.blocks
        for run in extracted.runs:
            held = self._runs.get((run.source, run.number), replace(run, rejected=0))
            rejected = held.rejected + extracted.rejected_of(run, judged)
            self._runs[run.source, run.number] = replace(run, started_at=held.started_at, rejected=rejected)
        for charge in extracted.charges:
            hour = charge.at.replace(minute=0, second=0, microsecond=0)
            before = self._bill.get((hour, charge.system, charge.stream)) or Charge(charge.system, charge.stream, hour)
            self._bill[hour, charge.system, charge.stream] = replace(
                before,
                queries=before.queries + charge.queries,
                seconds=before.seconds + charge.seconds,
                rows=before.rows + charge.rows,
                size_bytes=before.size_bytes + charge.size_bytes,
            )
        for (kind, name), value in extracted.kept.items():
            self.keep(kind, {name: value})
