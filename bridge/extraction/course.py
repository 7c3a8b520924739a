"""Where the reading of one stream stands, and what its steps share: progress, index, and the image in the journal.

`pages`, `remains` and `ending` move it. It decides nothing.
"""

from datetime import datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.extracted import Forgotten
from bridge.extraction import identity, modes
from bridge.extraction.changes import Place
from bridge.extraction.extractor import Page, Subject
from bridge.extraction.index import Index
from bridge.extraction.progress import Progress, Reading, Running
from bridge.extraction.stored import Images, Stored


class Course:
    """One stream. For one thread."""

    def __init__(self, subject: Subject, progress: Progress, images: Images) -> None:
        """Begin where the journal says."""
        self.subject = subject
        self.progress = progress
        self.odd: dict[str, int] = {}  # rows that share a key, rows without one, cursors ahead: of this reading
        self.stored = Stored(subject.stream, subject.key, images)
        self._index: Index | None = None

    @property
    def reading(self) -> Reading:
        """The reading under way."""
        assert self.progress.reading is not None  # noqa: S101  asked of a running stream
        return self.progress.reading

    @property
    def running(self) -> Running:
        """The run under way."""
        assert self.progress.running is not None  # noqa: S101  as above
        return self.progress.running

    # -- the index

    @property
    def is_known(self) -> bool:
        """Whether the index is in memory."""
        return self._index is not None

    @property
    def size(self) -> int:
        """Rows that are kept in memory."""
        return self._index.size if self._index else 0

    def index(self) -> Index:
        """The index, read from the journal where it is not in memory. Raises: JournalCorrupt."""
        if self._index is None:
            self._index = self.stored.load(self.progress)
        return self._index

    def fits(self, page: Page) -> bool:
        """Whether the index in memory knows rows by keys of such types; if not, it is forgotten."""
        if not page.columns.num_rows:
            return True
        kinds = identity.kinds(page.shape, self.subject.key)
        is_other = self.is_known and self.progress.until > 0 and self.stored.kinds not in {None, kinds}
        self.stored.kinds = kinds
        if is_other:
            self.forget_index()
        return not is_other

    def begin_index(self) -> None:
        """A reading begins: it has seen nothing yet."""
        if self._index is not None:
            self._index.begin()

    def forget_index(self) -> None:
        """Free the memory."""
        self._index = None
        self.stored.stop()

    # -- moving on

    def set(self, **values: Any) -> None:  # noqa: ANN401  fields of Progress
        """Change the progress."""
        self.progress = msgspec.structs.replace(self.progress, **values)

    def put_aside(self) -> None:
        """Let the sweep under way wait; what it has seen stays in the journal."""
        self.set(reading=None, aside=self.reading)
        self.stored.stop()

    def take_up(self) -> None:
        """Go on with the sweep that waits, in place of what is under way; what it has seen is read from the journal."""
        self.set(reading=self.progress.aside, aside=None)
        self.forget_index()

    def read(self, **values: Any) -> None:  # noqa: ANN401  fields of Reading
        """Change the reading under way."""
        self.set(reading=msgspec.structs.replace(self.reading, **values))

    def tell(self, ops: NDArray[np.uint8]) -> None:
        """Count events of the run."""
        told = {chr(letter): count for letter, count in enumerate(np.bincount(ops).tolist()) if count}
        self.set(running=self.running.told(told))

    def count(self, **found_now: int) -> None:
        """Count what is odd about the rows."""
        for what, count in found_now.items():
            if count:
                self.odd[what] = self.odd.get(what, 0) + count

    # -- what steps ask

    def place(self, at: datetime) -> Place:
        """Where the next events stand."""
        found_by = modes.found_by(self.subject, self.reading)
        running = self.running
        position = running.number if running.position is None else running.position
        return Place(self.subject.stream, position, running.index, found_by, at)

    def seen_no_more(self) -> tuple[Forgotten, ...]:
        """What a reading has seen is of no more use."""
        return (Forgotten(self.subject.stream, part="seen"),)
