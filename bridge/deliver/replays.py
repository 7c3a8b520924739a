"""Replays: a range of events, or one delivery dead letter, sent once more with the same ids.

A replay is a kept value of the journal under `replay`, so that it outlives the process; it shares its sink's calls,
breaker and rate with what is live, and keeps the order of keys within itself; letters of one key that are replayed
together keep it too. Its events are older than what the sink was sent since: receivers tell by `sequence`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bridge.deliver.feed import Feed, chunk_of
from bridge.deliver.route import Route
from bridge.model import LetterState
from bridge.parcel import Job, Progress, Undelivered


def choose(waiting: Iterable[Job], under_way: Iterable[Job], room: int) -> list[Job]:
    """Those that may begin now, at most so many: of the letters of one key only the oldest, and none before it ended.

    A letter without a key waits for every older one of its stream and holds every later one, as its event did (I5).
    """
    taken: dict[str, set[str | None]] = {}  # by stream: keys of letters that were or are before
    for job in under_way:
        if job.letter is not None:
            taken.setdefault(job.stream, set()).add(job.key)
    chosen: list[Job] = []
    for job in sorted(waiting, key=lambda job: (job.stream, job.first)):
        if len(chosen) >= room:
            break
        keys = taken.setdefault(job.stream, set()) if job.letter is not None else set()
        if not (keys if job.key is None else keys & {job.key, None}):
            chosen.append(job)
        keys.add(job.key)
    return chosen


@dataclass(slots=True)
class Replay:
    """A replay under way."""

    job: Job
    feed: Feed


def begin(job: Job, route: Route, letter: Undelivered | None, *, one_a_key: bool) -> Replay | None:
    """The feed of a job; None when its stream is not the sink's, or its letter is open no more."""
    look = route.looks.get(job.stream)
    if look is None:
        return None
    if job.letter is None:
        start = Progress(job.first - 1 if job.cursor is None else job.cursor, job.pending)
        return Replay(job, Feed(look, progress=start, until=job.last, one_a_key=one_a_key))
    if letter is None or letter.block is None or letter.state is not LetterState.OPEN:
        return None
    feed = Feed(look, progress=Progress(job.first - 1), until=job.last, one_a_key=one_a_key)
    feed.letter = job.letter
    feed.take_in(chunk_of(letter.block, look), now_s=0.0)
    feed.has_failed = not feed.lanes.ready_count  # the sink is not shown it any more: the letter stays open
    return Replay(job, feed)
