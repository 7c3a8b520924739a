"""A journal over which a process dies, or which fails, when the schedule of a test says so."""

from bridge.errors import JournalUnavailable
from bridge.model import Commit
from bridge.testing import MemoryJournal


class Killed(BaseException):
    """The process is gone; nothing may catch it."""


class FaultyJournal(MemoryJournal):
    """Fails or kills at the next append when told to."""

    next_append: str = ""

    def append(self, commit: Commit) -> dict[str, tuple[int, int]]:
        what, self.next_append = self.next_append, ""
        if what == "append fails":
            raise JournalUnavailable("a test")
        if what == "killed before commit":
            raise Killed
        given = super().append(commit)
        if what == "append fails late":
            raise JournalUnavailable("a test")
        if what == "killed after commit":
            raise Killed
        return given
