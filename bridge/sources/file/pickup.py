"""Which file comes next: complete, in order, and not taken before.

A file is looked at once it has stood still for a while, or its marker is there. An earlier file that still grows is
waited for, so that the order holds. What was refused or taken and left lying is not looked at again until it changes.
"""

import fnmatch
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from bridge.sources.file.places import Listed
from bridge.sources.file.spool import MEMOS

STILL_GROWING_S = 600  # then somebody should know
_COARSE_S = 2.0  # within which two changes may have one time, where times are whole seconds
_SECOND_NS = 1_000_000_000


@dataclass(slots=True)
class Pickup:
    """Looks over the files of a folder.

    Args:
        patterns: of file names, by stream.
        settle_s: how long size and time must stand still.
        done: suffix of the marker that says a file is complete.
        by_time: oldest first, not by name.
    """

    patterns: Mapping[str, str]
    settle_s: float
    done: str | None = None
    by_time: bool = False
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[Listed, float, float]] = field(
        default_factory=dict
    )  # file, since when so, since when at all
    _passed: dict[str, Listed] = field(default_factory=dict)

    def ready(self, files: Sequence[Listed]) -> list[Listed]:
        """The files to take now, in order, up to the first that is not complete."""
        now = self.clock()
        names = {listed.name for listed in files}
        self._passed = {name: seen for name, seen in self._passed.items() if name in names}
        before = self._seen
        self._seen = {}
        for listed in sorted(filter(self._is_ours, files), key=self._order):
            same = before.get(listed.name)
            if same is None or same[0] != listed:
                same = (listed, now, same[2] if same is not None else now)
            self._seen[listed.name] = same
        ready: list[Listed] = []
        for listed, since, _ in self._seen.values():
            if self._passed.get(listed.name) == listed:
                continue
            if self.done is not None and listed.name + self.done not in names:
                continue
            if now - since < self._settle_s(listed):
                break
            ready.append(listed)
        return ready

    def _settle_s(self, listed: Listed) -> float:
        """How long a file must have stood still, so that a change behind that shows in its time."""
        settle_s = 0.0 if self.done is not None else self.settle_s
        return settle_s if listed.mtime_ns % _SECOND_NS else max(settle_s, _COARSE_S)

    def streams_of(self, name: str) -> tuple[str, ...]:
        """The streams that read files of this name."""
        return tuple(stream for stream, pattern in self.patterns.items() if fnmatch.fnmatchcase(name, pattern))

    def beside(self, listed: Listed, files: Sequence[Listed]) -> Listed | None:
        """The memo file of a dBase table."""
        path = PurePath(listed.name)
        if path.suffix.lower() != ".dbf":
            return None
        found = (one for one in files if PurePath(one.name).stem == path.stem)
        return next((one for one in found if PurePath(one.name).suffix.lower() in MEMOS), None)

    def pass_over(self, listed: Listed) -> None:
        """Do not look at this file again until it changes."""
        self._passed[listed.name] = listed

    def unsettle(self, listed: Listed) -> None:
        """It changed while it was copied: it has to stand still anew."""
        self._seen.pop(listed.name, None)

    def growing(self) -> list[str]:
        """Names of files that have not stood still for long."""
        now = self.clock()
        return [
            listed.shown
            for listed, since, first in self._seen.values()
            if self.done is None and now - first >= STILL_GROWING_S and since != first and now - since < self.settle_s
        ]

    def _is_ours(self, listed: Listed) -> bool:
        return bool(self.streams_of(listed.name)) and not (self.done and listed.name.endswith(self.done))

    def _order(self, listed: Listed) -> tuple[int, str]:
        return (listed.mtime_ns if self.by_time else 0, listed.name)
