"""Upkeep in small steps: merge blocks, forget what may be forgotten, give space back.

Each step is one transaction, so a kill between two leaves nothing half done, and none is long, so that an append never
waits long behind one.
"""

from dataclasses import replace
from datetime import datetime
from functools import partial
from time import monotonic

import apsw
import pyarrow as pa

from bridge.journal import blocks, merging, states
from bridge.journal.block import pack
from bridge.journal.database import Database
from bridge.journal.rows import micros, moment
from bridge.ports import Retention, SubscriberGap

_PASS_S = 0.005  # how long one pass may take before it says that more waits: an event may be waiting behind it
_HEADS = 1_024
_DROPPED_BLOCKS = 64  # per transaction
_SPARE_PAGES = 512  # free pages kept for the next appends
_DROPPED_ROWS = 1_000  # settled letters and the like, per transaction

_FREE_PAGES = "SELECT freelist_count FROM pragma_freelist_count"
_VACUUM = "PRAGMA incremental_vacuum(128)"
_PUT_GAP = "INSERT INTO subscriber_gap (subscriber, stream, first, last, declared_at) VALUES (?, ?, ?, ?, ?)"
_GAPS = "SELECT stream, first, last, declared_at FROM subscriber_gap WHERE subscriber = ? ORDER BY id"
_FORGET_LETTERS = """
DELETE FROM letter WHERE id IN (SELECT id FROM letter WHERE state <> 'open' AND settled_at < ? LIMIT ?) RETURNING block
"""
_FORGET_LETTER_BLOCK = """
DELETE FROM letter_block WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM letter WHERE block = ?1)
"""
_FORGET_REQUESTS = "DELETE FROM request WHERE id IN (SELECT id FROM request WHERE settled_at < ? LIMIT ?)"
_FORGET_UNDELIVERED = """
DELETE FROM undelivered WHERE id IN (SELECT id FROM undelivered WHERE state <> 'open' AND settled_at < ? LIMIT ?)
"""
_FORGET_RECEIVED = """
DELETE FROM received WHERE (source, id) IN (SELECT source, id FROM received WHERE until < ? LIMIT ?)
"""
_FORGET_RUNS = """
DELETE FROM run WHERE (source, number) IN (SELECT source, number FROM run WHERE ended_at < ? LIMIT ?)
"""
_FORGET_BILL = "DELETE FROM bill WHERE hour < ? / 3600000000"
_FORGET_JUDGED = "DELETE FROM judged WHERE minute < ? / 60000000"


def tend(database: Database, retention: Retention, now: datetime) -> bool:
    """One bounded pass; True when more waits. Raises: JournalUnavailable, JournalCorrupt."""
    deadline = monotonic() + _PASS_S
    steps = (
        partial(_forget_by_size, database, retention, now),
        partial(_forget_by_age, database, retention, now),
        partial(_forget_settled, database, retention, now),
        partial(_merge, database),
        partial(_vacuum, database),
    )
    for step in steps:
        while step():
            if monotonic() > deadline:
                return True
    return False


def _merge(database: Database) -> bool:
    """Merge one run of one stream; False when nothing is worth merging."""
    with database.reading() as connection:
        rows = blocks.catalogue(connection)
        plans = (
            (row, heads, merging.plan(heads))
            for row in rows.values()
            if row.merged < row.last and (heads := blocks.heads(connection, row.stream, after=row.merged, limit=_HEADS))
        )
        found = next(((row, heads, plan) for row, heads, plan in plans if plan != merging.Plan()), None)
    if found is None:
        return False
    row, heads, plan = found
    chosen = heads[plan.start : plan.end]
    with database.writing() as connection:
        # Only one pass of upkeep at a time merges or forgets, so the heads still stand.
        held = blocks.find(connection, row.stream) or row
        if chosen:
            held = _replace(connection, held, chosen[0].first, chosen[-1].last)
        if plan.settled:
            held = replace(held, merged=heads[plan.settled - 1].last)
        blocks.put(connection, held)
    return True


def _replace(connection: apsw.Connection, row: blocks.Catalogue, first: int, last: int) -> blocks.Catalogue:
    """Put one block in the place of those from `first` to `last`."""
    old: list[blocks.StoredBlock] = []
    while not old or old[-1].last < last:
        after = old[-1].last if old else first - 1
        old += blocks.fetch(connection, row, after=after, budget_bytes=merging.FULL_BYTES)
    old = [block for block in old if block.last <= last]
    schema = blocks.schema(connection, old[0].schema)
    batch = pa.concat_batches([blocks.decode(block, schema).batch for block in old])
    commit_times = [(block.min_commit_at, block.max_commit_at) for block in old]
    merged = replace(
        old[0],
        last=last,
        journalled_at=max(block.journalled_at for block in old),
        min_commit_at=min((oldest for oldest, _ in commit_times if oldest is not None), default=None),
        max_commit_at=max((newest for _, newest in commit_times if newest is not None), default=None),
        packed=pack(batch),
    )
    blocks.drop(connection, row.stream, first, last)
    blocks.insert(connection, merged)
    old_bytes = sum(len(block.packed.data) for block in old)
    return replace(row, blocks=row.blocks - len(old) + 1, bytes=row.bytes - old_bytes + len(merged.packed.data))


def _forget_by_age(database: Database, retention: Retention, now: datetime) -> bool:
    """Drop blocks that are old enough and that every subscriber of their stream has read."""
    if retention.age is None:
        return False
    oldest = micros(now - retention.age)
    with database.reading() as connection:
        for row in blocks.catalogue(connection).values():
            read_up_to = min(states.settled(connection, row.stream).values(), default=row.last)
            heads = blocks.heads(connection, row.stream, after=row.first - 1, limit=_DROPPED_BLOCKS)
            count = next(
                (at for at, head in enumerate(heads) if head.journalled_at >= oldest or head.last > read_up_to),
                len(heads),
            )
            if count:
                break
        else:
            return False
    _forget(database, row.stream, heads[:count], now)
    return True


def _forget_by_size(database: Database, retention: Retention, now: datetime) -> bool:
    """Drop the oldest block of all while there are more bytes than the limit, read or not."""
    if retention.size_bytes is None:
        return False
    with database.reading() as connection:
        rows = blocks.catalogue(connection).values()
        over = sum(row.bytes for row in rows) - retention.size_bytes
        if over <= 0:
            return False
        fronts = [
            (heads[0].journalled_at, row.stream, heads)
            for row in rows
            if (heads := blocks.heads(connection, row.stream, after=row.first - 1, limit=_DROPPED_BLOCKS))
        ]
    fronts.sort(key=lambda front: front[:2])
    _, stream, heads = fronts[0]
    until = fronts[1][0] if len(fronts) > 1 else None
    chosen: list[blocks.Head] = []
    for head in heads:
        if over <= 0 or (chosen and until is not None and head.journalled_at > until):
            break
        chosen.append(head)
        over -= head.bytes
    _forget(database, stream, chosen, now)
    return True


def _forget(database: Database, stream: str, heads: list[blocks.Head], now: datetime) -> None:
    """Drop the first blocks of a stream, and declare a gap to whoever had not read them."""
    first, last = heads[0].first, heads[-1].last
    with database.writing() as connection:
        row = blocks.find(connection, stream)
        if row is None:
            return
        for subscriber, settled in states.settled(connection, stream).items():
            if settled < last:
                unread = max(settled + 1, first)
                connection.execute(_PUT_GAP, (subscriber, stream, unread, last, micros(now)))
        blocks.drop(connection, stream, first, last)
        blocks.put(
            connection,
            replace(
                row,
                first=last + 1,
                blocks=row.blocks - len(heads),
                bytes=row.bytes - sum(head.bytes for head in heads),
            ),
        )


def _forget_settled(database: Database, retention: Retention, now: datetime) -> bool:
    """Drop settled letters, requests, runs and counts past the age; ids of messages past their time."""
    counts = []
    with database.writing() as connection:
        connection.execute(_FORGET_RECEIVED, (micros(now), _DROPPED_ROWS))
        counts.append(connection.changes())
        if retention.age is not None:
            oldest = micros(now - retention.age)
            gone = connection.execute(_FORGET_LETTERS, (oldest, _DROPPED_ROWS)).fetchall()
            counts.append(len(gone))
            for block in set(gone):
                connection.execute(_FORGET_LETTER_BLOCK, block)
            for statement in (_FORGET_UNDELIVERED, _FORGET_REQUESTS, _FORGET_RUNS):
                connection.execute(statement, (oldest, _DROPPED_ROWS))
                counts.append(connection.changes())
            connection.execute(_FORGET_JUDGED, (oldest,))
            connection.execute(_FORGET_BILL, (oldest,))
    return max(counts) == _DROPPED_ROWS


def _vacuum(database: Database) -> bool:
    """Give some free pages back to the file system; False when few are free."""
    with database.reading() as connection:
        free = connection.execute(_FREE_PAGES).get
    if free <= _SPARE_PAGES:
        return False
    with database.writing() as connection:
        connection.execute(_VACUUM).fetchall()  # one row a page
    return True


def gaps(connection: apsw.Connection, subscriber: str) -> list[SubscriberGap]:
    """What a subscriber was not given, oldest first."""
    rows = connection.execute(_GAPS, (subscriber,))
    return [SubscriberGap(subscriber, stream, first, last, moment(at)) for stream, first, last, at in rows]
