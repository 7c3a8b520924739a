"""Count what was lost and what was doubled, as somebody who trusts neither side.

`python -m demo.reckoning --oracle FILE --dsn DSN --config bridge.yaml` reads the oracle file, the source's tables (its
own session, as whoever may read them) and the bridge's public commands (`events --json`, `dead list --json`), never the
daemon's counters, and shares no code with the bridge. `--files FILE` says what a mainframe delivered. With `--hook
FILE`, `--live FILE` and `--lake FOLDER` it compares what receivers outside hold with the same oracle: they may have
been sent an event again, and tell by its id. The last lines are `lost: N` and `doubled: N`, over all of them; it exits
with 1 unless every promise held. Run it when the business day is over, the first reading is complete and the bridge has
caught up.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from demo import expectation, mainframe, oracle, receipts
from demo.comparison import Event, Letter, Polled, Reckoning, Stream, reckon, reckon_delivered, reckon_polled
from demo.expectation import Expectation
from demo.oracle import TABLES, Change, Oracle, Row, Table
from demo.session import ErpSession

TOLD = 20  # findings printed
WORDS = {"created": "create", "updated": "update", "deleted": "delete", "truncated": "truncate"}
Shown = Callable[[str], Iterable[Mapping[str, Any]]]  # the events of a stream, as CloudEvents
UNSETTLED = frozenset({"open", "discarded", "superseded"})  # a replayed letter has become an event


class Bridge:
    """The bridge's public commands."""

    def __init__(self, config: Path) -> None:
        self._command = [sys.executable, "-m", "bridge", "--config", str(config)]

    def lines(self, *arguments: str) -> Iterator[dict[str, Any]]:
        """The JSON lines that a command prints. Raises: RuntimeError when it fails."""
        with subprocess.Popen([*self._command, *arguments], stdout=subprocess.PIPE) as process:
            for line in process.stdout or ():
                yield json.loads(line)
        if process.returncode:
            raise RuntimeError(f"legacy-bridge {' '.join(arguments)} ended with {process.returncode}")


def event_of(shown: Mapping[str, Any], expected: Expectation) -> Event:
    """An event from its CloudEvents form."""
    word = shown["type"].split(".")[-2]
    op = WORDS.get(word, word)
    facts = {} if op in {"truncate", "gap"} else expected.shown(shown.get("data", {}))
    unchanged = frozenset(filter(None, shown.get("unchanged", "").split(",")))
    return Event(shown["id"], op, shown.get("subject", ""), facts, unchanged, shown.get("counterpart"))


def letter_of(shown: Mapping[str, Any]) -> Letter:
    """A letter from `dead list --json`; the second part of a re-read row's event id is `s` and a number."""
    is_read = shown["event_id"].split(":")[1].startswith("s")
    return Letter(shown["event_id"], shown["key"], is_read)


def streams(
    config: Path, noted: Oracle, *, present: Mapping[str, list[Row]], letters: list[dict[str, Any]], shown: Shown
) -> Iterator[Stream]:
    """Every captured table: what the oracle says, what somebody holds, and the table as it is."""
    for name, declared in yaml.safe_load(config.read_text(encoding="utf-8"))["streams"].items():
        if "log" not in declared:
            continue
        table = TABLES[declared["log"]]
        expected = expectation.load(config.parent / declared["contract"], table)
        yield Stream(
            table=table.name,
            initial=[(table.key_of(row), expected.facts(row)) for row in noted.initial[table.name]],
            changes=[
                (change, None if change.row is None else expected.facts(change.row))
                for change in noted.changes()
                if change.table == table.name
            ],
            events=[event_of(each, expected) for each in shown(name)],
            letters=[letter_of(each) for each in letters if each["stream"] == name],
            present=[(table.key_of(row), expected.facts(row)) for row in present[table.name]],
            long=expected.long,
        )


def polled(
    config: Path, *, present: Mapping[str, list[Row]], letters: list[dict[str, Any]], shown: Shown
) -> Iterator[Polled]:
    """Every stream that is read by a view: what somebody holds, and the table as it is."""
    for name, declared in yaml.safe_load(config.read_text(encoding="utf-8"))["streams"].items():
        if "view" in declared:
            document = yaml.safe_load((config.parent / declared["contract"]).read_text(encoding="utf-8"))
            table = TABLES[document["schema"][0]["physicalName"]]
            expected = expectation.load(config.parent / declared["contract"], table)
            yield Polled(
                name,
                events=[event_of(each, expected) for each in shown(name)],
                rejected=frozenset(each["key"] for each in letters if each["stream"] == name),
                present={table.key_of(row): expected.facts(row) for row in present[table.name]},
            )


def delivered(
    config: Path, records: Sequence[tuple[str, Row | None]], *, letters: list[dict[str, Any]], shown: Shown
) -> Iterator[Stream]:
    """The stream that is read from files: what the mainframe says, and what somebody holds."""
    for name, declared in yaml.safe_load(config.read_text(encoding="utf-8"))["streams"].items():
        if "file" in declared:
            expected = expectation.load(config.parent / declared["contract"], Table(name, ()))
            yield Stream(
                name,
                initial=[],
                changes=[
                    (Change(name, "create", key, row), None if row is None else expected.facts(row))
                    for key, row in records
                ],
                events=[event_of(each, expected) for each in shown(name)],
                letters=[letter_of(each) for each in letters if each["stream"] == name],
            )


class Receipts:
    """What a receiver holds, by stream, each event once: the first time that its id came."""

    def __init__(self, events: Iterable[Mapping[str, Any]]) -> None:
        self.again = 0  # events that came with an id that had come before
        self._seen: set[str] = set()
        self._events: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for event in events:
            if event["id"] in self._seen:
                self.again += 1
            else:
                self._seen.add(event["id"])
                self._events[event["source"].rpartition("/")[2]].append(event)

    def __call__(self, stream: str) -> list[Mapping[str, Any]]:
        """The events of a stream, in the order in which they came."""
        return self._events[stream]


def receivers(given: argparse.Namespace) -> Iterator[tuple[str, Receipts]]:
    """Everybody outside that is to be held to the oracle."""
    if given.hook is not None:
        yield "webhook", Receipts(receipts.noted(given.hook))
    if given.live is not None:
        yield "live reader", Receipts(receipts.noted(given.live))
    if given.lake is not None:
        yield "parquet", Receipts(receipts.stored(given.lake))


def report(sums: Reckoning, noted: Oracle, told: Sequence[str] = ()) -> str:
    """The sums in lines, `lost` and `doubled` last."""
    lines = [*sums.findings[:TOLD], *told]
    if len(sums.findings) > TOLD:
        lines.append(f"and {len(sums.findings) - TOLD} findings more")
    if not noted.complete:
        lines.append(
            "the oracle's writer was killed: events it could not note any more are not held against the bridge"
        )
    lines += [
        f"transactions: {len(noted.transactions)}",
        f"committed: {sums.committed}",
        f"journalled: {sums.journalled}",
        f"dead-lettered: {sums.dead_lettered}",
        f"read: {sums.read}",
        f"not read (no key): {sums.unread}",
        f"found by view: {sums.polled}",
        f"found in files: {sums.delivered}",
        f"gaps: {sums.gaps}",
        f"unaccounted: {sums.unaccounted}",
        f"inverted: {sums.inverted}",
        f"differing: {sums.differing}",
        f"lost: {sums.lost}",
        f"doubled: {sums.doubled}",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run from the command line; 0 when every promise held, else 1."""
    arguments = argparse.ArgumentParser(prog="demo.reckoning", description="Count what was lost and what was doubled.")
    arguments.add_argument("--oracle", type=Path, required=True, help="what the business day noted")
    arguments.add_argument("--dsn", required=True, help="the ERP's database")
    arguments.add_argument("--config", type=Path, required=True, help="the bridge's configuration")
    arguments.add_argument("--files", type=Path, help="what a mainframe delivered")
    arguments.add_argument("--hook", type=Path, help="what a webhook receiver noted")
    arguments.add_argument("--live", type=Path, help="what a live reader noted")
    arguments.add_argument("--lake", type=Path, help="a Parquet data set")
    given = arguments.parse_args()
    noted = oracle.read(given.oracle)
    with ErpSession(given.dsn) as source:
        present = source.rows()
    records = [] if given.files is None else mainframe.delivered(given.files)
    bridge = Bridge(given.config)
    rejected = (each for each in bridge.lines("dead", "list", "--all", "--json") if "sink" not in each)
    letters = [each for each in rejected if each["state"] in UNSETTLED]

    def compare(shown: Shown) -> Reckoning:
        sums = reckon(streams(given.config, noted, present=present, letters=letters, shown=shown))
        for each in polled(given.config, present=present, letters=letters, shown=shown):
            sums.add(reckon_polled(each))
        for exported in delivered(given.config, records, letters=letters, shown=shown):
            sums.add(reckon_delivered(exported))
        return sums

    sums = compare(lambda name: bridge.lines("events", name, "--json"))
    told = []
    for receiver, held in receivers(given):
        theirs = compare(held)
        counts = f"journalled {theirs.journalled}, read {theirs.read}, sent again {held.again}"
        told.append(f"{receiver}: {counts}, inverted {theirs.inverted}, lost {theirs.lost}, doubled {theirs.doubled}")
        for wrong in ("unaccounted", "inverted", "differing", "lost", "doubled"):
            setattr(sums, wrong, getattr(sums, wrong) + getattr(theirs, wrong))
        sums.findings += [f"{receiver}: {finding}" for finding in theirs.findings]
    print(report(sums, noted, told))
    return 0 if sums.is_clean(complete=noted.complete) else 1


if __name__ == "__main__":
    sys.exit(main())
