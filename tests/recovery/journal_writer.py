"""A process that owns a journal and appends to it; `python -m tests.recovery.journal_writer PATH WINDOWS`.

Window n holds three orders (numbers 3n to 3n + 2) and one customer, with position n + 1. After each append that
returned, the number of windows is written to standard output, unbuffered: what was acknowledged. On JournalUnavailable
it goes on from the position the journal holds, as a source would. With 0 windows it only holds the journal.
"""

import os
import sys
from pathlib import Path

from bridge.errors import JournalUnavailable
from bridge.journal.sqlite import SqliteJournal
from tests import journal_samples as sample


def held_windows(journal: SqliteJournal) -> int:
    position, _ = journal.position("erp")
    return 0 if position is None else position.at[0]


def main(path: Path, windows: int) -> None:
    journal = SqliteJournal.open(path, owner=True)
    say("open")
    if not windows:
        sys.stdin.read()
    at = held_windows(journal)
    while at < windows:
        try:
            batches = (sample.events(start=3 * at), sample.events("customers", 1, start=at))
            journal.append(sample.commit(*batches, at=at + 1))
        except JournalUnavailable:
            say("unavailable")
            at = held_windows(journal)
            continue
        at += 1
        say(str(at))
        if at % 50 == 0:
            journal.tend(sample.START)


def say(word: str) -> None:
    os.write(1, f"{word}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
