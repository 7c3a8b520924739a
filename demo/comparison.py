"""Compare what was committed at the source with what the bridge shows; pure, and no code shared with the bridge.

A committed change of a captured table must be there as exactly one event, in the order of its key, or as one dead
letter; rows that were there before must have been read, or have an event or a letter of their own; the events,
replayed, must give the table as it is now.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

from demo.oracle import TABLES, Change

CHANGE_OPS = frozenset({"create", "update", "delete"})

Facts = Mapping[str, str]  # contract field -> canonical text; a field without a value is absent
Identity = tuple[str, frozenset[tuple[str, str]]]  # what makes two changes of a key the same change


@dataclass(frozen=True, slots=True)
class Event:
    """One event as the bridge shows it."""

    id: str
    op: str  # create, update, delete, read, truncate, gap
    key: str  # empty for a keyless table
    facts: Facts
    unchanged: frozenset[str] = frozenset()  # fields that the source did not send
    counterpart: str | None = None  # id of the other half of a key change


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter as the bridge shows it; a replayed one has become an event and is not shown here."""

    event_id: str
    key: str | None  # None where it could not be computed
    is_read: bool = False  # of a row that was there before, not of a change


@dataclass(frozen=True, slots=True)
class Stream:
    """Everything known of one table: two independent accounts, and the table as it is now."""

    table: str
    initial: Sequence[tuple[str, Facts | None]]  # key and facts; None: no contract value exists for the row
    changes: Sequence[tuple[Change, Facts | None]]  # in commit order; facts of the new row, none on a delete
    events: Sequence[Event]  # in the journal's order
    letters: Sequence[Letter]
    present: Sequence[tuple[str, Facts | None]] | None = None  # the table now; None: not looked at
    long: frozenset[str] = frozenset()  # fields that an update or a key change may leave out (TOAST)


@dataclass(slots=True)
class Reckoning:
    """The sums, and each finding in words."""

    committed: int = 0  # changes
    journalled: int = 0  # of them, found as an event
    dead_lettered: int = 0  # of them, found as a dead letter
    read: int = 0  # events of rows that were there before
    polled: int = 0  # events of streams that are read by a view
    delivered: int = 0  # events of streams that are read from files
    gaps: int = 0  # declared by the bridge
    unread: int = 0  # rows of keyless tables from before: there is no key to read them by
    unaccounted: int = 0  # events of changes nobody committed
    inverted: int = 0  # keys whose events are not in commit order
    differing: int = 0  # events or final rows with other values than the source's
    lost: int = 0
    doubled: int = 0
    findings: list[str] = field(default_factory=list)

    def is_clean(self, *, complete: bool = True) -> bool:
        """Whether every promise held; an incomplete oracle excuses events it does not know."""
        wrong = self.lost + self.doubled + self.inverted + self.differing
        return wrong == 0 and (self.unaccounted == 0 or not complete)

    def add(self, other: "Reckoning") -> None:
        """Sum up two."""
        for each in fields(self):
            if each.name == "findings":
                self.findings += other.findings
            else:
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def find(self, kind: str, table: str, key: str, *, count: int = 1) -> None:
        """Count something wrong and say where; nothing when the count is 0."""
        if not count:
            return
        setattr(self, kind, getattr(self, kind) + count)
        self.findings.append(f"{kind}: {count} x {table} {key or '(no key)'}")


@dataclass(frozen=True, slots=True)
class Polled:
    """A stream that is read by comparing: it need not tell every change, but where each row ended."""

    name: str
    events: Sequence[Event]  # in order
    rejected: frozenset[str]  # keys with a dead letter
    present: Mapping[str, Facts | None]  # the table as it is, by key


def reckon_polled(stream: Polled) -> Reckoning:
    """Reckon up one polled stream: its events, replayed, are the table."""
    found = Reckoning(polled=len(stream.events))
    held: dict[str, Facts] = {}
    for event in stream.events:
        if event.op in ("create", "read") and event.key in held:
            found.find("doubled", stream.name, event.key)
        if event.op == "delete":
            held.pop(event.key, None)
        elif event.op != "gap":
            held[event.key] = event.facts
    for key, facts in stream.present.items():
        if held.pop(key, None) != facts and key not in stream.rejected:
            found.find("lost", stream.name, key)
    for key in held.keys() - stream.rejected:
        found.find("lost", stream.name, key)  # the delete
    return found


def reckon(streams: Iterable[Stream]) -> Reckoning:
    """Reckon up every stream; pure."""
    total = Reckoning()
    for stream in streams:
        total.add(reckon_stream(stream))
    return total


def reckon_stream(stream: Stream) -> Reckoning:
    """Reckon up one stream; pure."""
    sums, events, letters = _reckon_changes(stream)
    if TABLES[stream.table].key:
        _check_reads(stream, events, sums)
        _match_initial(stream, events, Counter(letter.key for letter in letters if letter.is_read), sums)
    else:
        _match_keyless(stream, events, sums)
    if stream.present is not None and TABLES[stream.table].key:
        _compare_present(stream, events, sums)
    return sums


def reckon_delivered(stream: Stream) -> Reckoning:
    """Reckon up a stream that is read from files: every record is there once, as an event or a letter; pure."""
    sums, events, _ = _reckon_changes(stream)
    sums.delivered = len(events)
    return sums


def _reckon_changes(stream: Stream) -> tuple[Reckoning, list[Event], list[Letter]]:
    """The sums over its changes; its events, each once; its letters without an event."""
    sums = Reckoning(committed=len(stream.changes))
    events = list(_once(stream, sums))
    sums.gaps = sum(event.op == "gap" for event in events)
    sums.read = sum(event.op == "read" for event in events)
    letters = _unjournalled(stream, events, sums)
    _match_changes(stream, events, Counter(letter.key for letter in letters if not letter.is_read), sums)
    return sums, events, letters


def _once(stream: Stream, sums: Reckoning) -> Iterator[Event]:
    """Events without those whose id was there before."""
    seen: set[str] = set()
    for event in stream.events:
        if event.id in seen:
            sums.find("doubled", stream.table, event.key)
        else:
            seen.add(event.id)
            yield event


def _unjournalled(stream: Stream, events: Sequence[Event], sums: Reckoning) -> list[Letter]:
    """Letters without those whose event is journalled too."""
    ids = {event.id for event in events}
    for letter in stream.letters:
        if letter.event_id in ids:
            sums.find("doubled", stream.table, letter.key or "")
    return [letter for letter in stream.letters if letter.event_id not in ids]


def _match_changes(stream: Stream, events: Sequence[Event], letters: Counter[str | None], sums: Reckoning) -> None:
    """Match committed changes with events and letters, key by key."""
    committed: dict[str, list[Identity]] = defaultdict(list)
    for change, facts in stream.changes:
        omitted = stream.long if change.op == "update" or change.moved else frozenset()
        committed[change.key].append(_identity(change.op, facts, omitted))
    shown: dict[str, list[Identity]] = defaultdict(list)
    for event in events:
        if event.op in CHANGE_OPS:
            omitted = stream.long if event.op == "update" or event.counterpart else frozenset()
            shown[event.key].append(_identity(event.op, event.facts, omitted))
    for key in committed.keys() | shown.keys():
        owed, seen = committed[key], shown[key]
        matched = Counter(owed) & Counter(seen)
        sums.journalled += matched.total()
        if key and _kept(owed, matched) != _kept(seen, matched):
            sums.find("inverted", stream.table, key)
        settled = _settle(key, (Counter(owed) - matched).total(), letters)
        sums.dead_lettered += settled
        missing = (Counter(owed) - matched).total() - settled
        surplus = Counter(seen) - matched
        doubled = sum(count for identity, count in surplus.items() if identity in matched)
        strange = surplus.total() - doubled
        differing = min(missing, strange)
        sums.find("doubled", stream.table, key, count=doubled)
        sums.find("differing", stream.table, key, count=differing)
        sums.find("lost", stream.table, key, count=missing - differing)
        sums.find("unaccounted", stream.table, key, count=strange - differing)
    for spare, count in letters.items():
        if spare is not None:
            sums.find("doubled", stream.table, spare, count=count)  # a letter beside the event of its change


def _settle(key: str, missing: int, letters: Counter[str | None]) -> int:
    """Take letters of this key, then such as have none, for the missing changes; returns how many were found."""
    own = min(missing, letters[key])
    letters[key] -= own
    nameless = min(missing - own, letters[None])
    letters[None] -= nameless
    return own + nameless


def _identity(op: str, facts: Facts | None, omitted: frozenset[str] = frozenset()) -> Identity:
    """What identifies a change; `omitted` fields are left to the final comparison: the source may not send them."""
    if op == "delete":
        return op, frozenset()
    if facts is None:
        return op, frozenset({("", "no contract value")})  # which no event can equal
    return op, frozenset(item for item in facts.items() if item[0] not in omitted)


def _kept(changes: Sequence[Identity], matched: Counter[Identity]) -> list[Identity]:
    """The matched changes in their order."""
    left = Counter(matched)
    kept = []
    for identity in changes:
        if left[identity]:
            left[identity] -= 1
            kept.append(identity)
    return kept


def _check_reads(stream: Stream, events: Sequence[Event], sums: Reckoning) -> None:
    """A row that was read is one that its key had at some time."""
    versions: dict[str, set[Identity]] = defaultdict(set)
    for key, facts in stream.initial:
        versions[key].add(_identity("read", facts))
    for change, facts in stream.changes:
        versions[change.key].add(_identity("read", facts))
    for event in events:
        if event.op == "read" and event.key not in versions:
            sums.find("unaccounted", stream.table, event.key)
        elif event.op == "read" and _identity("read", event.facts) not in versions[event.key]:
            sums.find("differing", stream.table, event.key)


def _match_initial(stream: Stream, events: Sequence[Event], letters: Counter[str | None], sums: Reckoning) -> None:
    """Every row from before was read, or has a change's event or a letter of its own."""
    shown = {event.key for event in events}
    for key, _ in stream.initial:
        if key not in shown and not _settle(key, 1, letters):
            sums.find("lost", stream.table, key)


def _match_keyless(stream: Stream, events: Sequence[Event], sums: Reckoning) -> None:
    """Rows of a keyless table can be counted only."""
    reads = Counter(_identity("read", event.facts) for event in events if event.op == "read")
    if reads:
        owed = Counter(_identity("read", facts) for _, facts in stream.initial)
        sums.find("lost", stream.table, "", count=(owed - reads).total())
    else:
        sums.unread += len(stream.initial)


def replay(events: Iterable[Event]) -> dict[str, dict[str, str]]:
    """The table that the events describe: key -> facts. An unchanged field keeps its value, over a key change too."""
    table: dict[str, dict[str, str]] = {}
    moved: dict[str, dict[str, str]] = {}  # id of the second half of a key change -> the row as it was
    for event in events:
        if event.op == "truncate":
            table.clear()
        elif event.op == "delete":
            before = table.pop(event.key, {})
            if event.counterpart is not None:
                moved[event.counterpart] = before
        elif event.op != "gap":
            before = moved.pop(event.id, {}) if event.op == "create" else table.get(event.key, {})
            kept = {name: before[name] for name in event.unchanged if name in before}
            table[event.key] = {**kept, **event.facts}
    return table


def _compare_present(stream: Stream, events: Sequence[Event], sums: Reckoning) -> None:
    """The replayed events give the table as it is, apart from keys with letters."""
    replayed = replay(events)
    excused = {letter.key for letter in stream.letters}
    present = dict(stream.present or ())
    for key in (replayed.keys() | present.keys()) - excused:
        if replayed.get(key) != present.get(key):
            sums.find("differing", f"{stream.table}, as it is now,", key)
