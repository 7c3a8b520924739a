"""E1, E7, E8, E11, E12, H4: what a receiver, an operator or a broken file can do to a daemon that delivers.

The receiver keeps what it was sent and is the oracle, as in `test_delivery_kills`.
"""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.processes import free_port
from demo.server import Database
from tests.daemon import Daemon, Load, prepare, wait_for
from tests.receivers import OK, Act, Received, Receiver, drop, reply
from tests.recovery.test_delivery_kills import SECRET, Moody, journalled, reckon_delivery

FULL_S = 4 * 3_600.0  # of the long outage
NEVER_S = 3_600.0  # a retry that no test lives to see


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(port=free_port()) as running:  # it goes, and comes back where it was
        yield running


@pytest.fixture
def daemon(tmp_path: Path, database: Database, receiver: Receiver) -> Iterator[Daemon]:
    prepare(database, "articles")
    with Daemon(tmp_path, database, "articles") as made:
        made.document["sinks"] = {"crm": way_out(receiver)}
        made.write()
        yield made


def way_out(receiver: Receiver, *, after_s: tuple[float, ...] = (0.05,) * 100, **keys: Any) -> dict[str, Any]:  # noqa: ANN401  of its section
    """The section of a sink that goes to a receiver."""
    return {
        "webhook": {"url": receiver.url, "secrets": [SECRET], "allow_networks": ["127.0.0.0/8"]},
        "retry": {"after_s": list(after_s)},
        "breaker": {"pause_s": 0.1, "longest_pause_s": 0.5},
        **keys,
    }


def standing(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(daemon.ask("sink", "show", "crm", "--json"))
    return found


def memory_mb(daemon: Daemon, line: str = "VmRSS") -> float:
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(each.split()[1]) / 1e3 for each in lines if each.startswith(f"{line}:"))


def insert(daemon: Daemon, *numbers: int) -> None:
    for number in numbers:
        daemon.database.sql(f"INSERT INTO shop.articles VALUES ({number}, 'n', 1)")


# -- E1


def outage(daemon: Daemon, receiver: Receiver, seconds: float) -> tuple[float, float]:
    """The receiver is away for so long and comes back; 0 lost, order kept.

    Returns: how many times faster than they came events went out afterwards; growth of memory while it was away, but
        for the first tenth of that time, in which a process that just began gets warm.
    """
    receiver.script = mood = Moody(share=0)
    daemon.start()
    with Load(daemon.database, "articles", per_second=20) as load:
        wait_for(lambda: len(mood.taken) > 50, why=daemon.log_tail)
        receiver.stop()
        wait_for(lambda: standing(daemon)["state"] == "breaker open", why=daemon.log_tail)
        began, first = time.monotonic(), len(load.acknowledged)
        wait_for(lambda: time.monotonic() - began > seconds / 10, within_s=seconds + 60)
        before = memory_mb(daemon)
        wait_for(lambda: time.monotonic() - began > seconds, within_s=seconds + 60, every_s=1)
        came_per_s = (len(load.acknowledged) - first) / (time.monotonic() - began)
        grown = memory_mb(daemon) / before - 1
        assert standing(daemon)["dead_letters"] == 0, "given up while nobody was there"
        taken, began = len(mood.taken), time.monotonic()
        with receiver:
            waiting = standing(daemon)["behind"] + standing(daemon)["pending"]
            wait_for(lambda: len(mood.taken) - taken >= waiting, within_s=seconds + 60, why=daemon.log_tail)
            went_per_s = waiting / (time.monotonic() - began)
            load.stop()
            reckon_delivery(daemon, load, receiver, mood, deaths=1)
    return went_per_s / came_per_s, grown


def test_a_receiver_that_is_away_gets_everything_in_order_when_it_is_back(daemon: Daemon, receiver: Receiver) -> None:
    _, grown = outage(daemon, receiver, 5)
    assert grown < 0.1


@pytest.mark.soak
@pytest.mark.timeout(2 * FULL_S)
def test_a_receiver_that_is_away_for_four_hours_is_caught_up_with_ten_times_faster(
    daemon: Daemon, receiver: Receiver
) -> None:
    faster, grown = outage(daemon, receiver, FULL_S * float(os.environ.get("SOAK_SCALE", "1")))
    print(f"drained at {faster:.1f} times the rate of arrival; memory grew by {grown:.1%}")
    assert faster >= 10
    assert grown < 0.1


# -- E7


class Fussy:
    """A receiver that refuses one row for as long as it is told to."""

    def __init__(self, number: int) -> None:
        self.taken: list[tuple[int, str]] = []  # row and id of what was answered with yes
        self.refused: list[str] = []
        self.refuses = True
        self._number = number

    def __call__(self, received: Received) -> Act:
        row, one = int(json.loads(received.body)["subject"]), received.headers["webhook-id"]
        if self.refuses and row == self._number:
            self.refused.append(one)
            return reply(422)
        self.taken.append((row, one))
        return OK

    def rows(self) -> list[int]:
        return [row for row, _ in self.taken]


def test_events_of_other_keys_pass_by_one_that_is_never_taken(daemon: Daemon, receiver: Receiver) -> None:
    """E7: they are all there while it waits for its next attempt; only its own key stands behind it."""
    daemon.document["sinks"]["crm"] = way_out(receiver, after_s=(NEVER_S,))
    daemon.write()
    receiver.script = fussy = Fussy(5)
    daemon.start()
    insert(daemon, *range(1, 31))
    daemon.database.sql("UPDATE shop.articles SET amount = 2 WHERE id = 5")
    insert(daemon, *range(31, 61))
    wait_for(lambda: len(fussy.taken) == 59, why=daemon.log_tail)
    assert set(fussy.rows()) == set(range(1, 61)) - {5}
    assert len(fussy.refused) == 1
    wait_for(lambda: standing(daemon)["pending"] == 2, why=daemon.log_tail)


def test_an_event_that_was_set_aside_is_sent_again_by_its_letter(daemon: Daemon, receiver: Receiver) -> None:
    """E7: under the id it had; its key flowed on behind it."""
    daemon.document["sinks"]["crm"]["retry"]["refused_attempts"] = 2
    daemon.write()
    receiver.script = fussy = Fussy(5)
    daemon.start()
    insert(daemon, *range(1, 11))

    def letters() -> list[dict[str, Any]]:
        return [json.loads(line) for line in daemon.ask("dead", "list", "--sink", "crm", "--json").splitlines()]

    (letter,) = wait_for(letters, why=daemon.log_tail)
    wait_for(lambda: standing(daemon)["pending"] == 0 and len(fussy.taken) == 9, why=daemon.log_tail)
    fussy.refuses = False
    daemon.database.sql("UPDATE shop.articles SET amount = 2 WHERE id = 5")
    wait_for(lambda: 5 in fussy.rows(), why=daemon.log_tail)
    daemon.ask("dead", "replay", str(letter["id"]))
    wait_for(lambda: fussy.rows().count(5) == 2, why=daemon.log_tail)
    assert fussy.taken[-1] == (5, fussy.refused[0])
    assert set(fussy.refused) == {fussy.refused[0]}
    wait_for(lambda: not letters(), why=daemon.log_tail)


# -- E8


class Slow:
    """A receiver that takes its time for every request until it is told to hurry."""

    def __init__(self) -> None:
        self.pause_s = 0.1
        self.taken: list[int] = []  # sequence numbers

    def __call__(self, received: Received) -> Act:
        async def act(writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(self.pause_s)
            self.taken.append(int(json.loads(received.body)["sequence"]))
            await OK(writer)

        return act


@pytest.mark.parametrize("hot", [True, False], ids=["one key", "many keys"])
def test_a_slow_receiver_costs_no_memory(daemon: Daemon, receiver: Receiver, *, hot: bool) -> None:
    """E8: 80 MB wait for it, a few of them in memory; what it is sent in the end is everything, in order."""
    sink = way_out(receiver, memory_megabytes=4, hold_events=1_000_000, concurrency=2)
    sink["webhook"]["body_limit_kilobytes"] = 1_000
    daemon.document["sinks"]["crm"] = sink
    daemon.write()
    daemon.start()
    daemon.ask("sink", "pause", "crm")
    key, count = ("1" if hot else "n"), 250
    daemon.database.sql(
        f"DO $$ BEGIN FOR n IN 1..{count} LOOP INSERT INTO shop.articles VALUES ({key}, repeat(md5(n::text), 10000), n)"
        " ON CONFLICT (id) DO UPDATE SET name = excluded.name; END LOOP; END $$"
    )
    wait_for(lambda: standing(daemon)["behind"] == count, why=daemon.log_tail)
    daemon.stop()
    receiver.script = slow = Slow()
    daemon.start()
    before = memory_mb(daemon)
    daemon.ask("sink", "resume", "crm")
    wait_for(lambda: len(slow.taken) >= 5, why=daemon.log_tail)
    slow.pause_s = 0
    wait_for(lambda: len(slow.taken) >= count, why=daemon.log_tail)
    grown = memory_mb(daemon, "VmHWM") - before
    assert grown < 150, "more than a few blocks and what is made of them"
    assert slow.taken == sorted(slow.taken) or not hot
    assert sorted(slow.taken) == list(range(1, count + 1))


# -- E11, E12


def test_a_range_that_is_replayed_twice_brings_the_receiver_nothing_new(daemon: Daemon, receiver: Receiver) -> None:
    daemon.start()
    insert(daemon, *range(1, 31))
    wait_for(lambda: len(receiver.received) == 30, why=daemon.log_tail)
    bodies = {one.headers["webhook-id"]: one.body for one in receiver.received}
    for turn in (1, 2):
        daemon.ask("sink", "replay", "crm", "articles", "--from", "6", "--to", "25")
        wait_for(lambda: len(receiver.received) == 30 + 20 * turn, why=daemon.log_tail)  # noqa: B023  called at once
    wait_for(lambda: not standing(daemon)["replays"], why=daemon.log_tail)
    assert {one.headers["webhook-id"]: one.body for one in receiver.received} == bodies
    chosen = [one for one, (_, number) in journalled(daemon).items() if 6 <= number <= 25]
    assert receiver.distinct == Counter(dict.fromkeys(bodies, 1)) + Counter(dict.fromkeys(chosen, 2))


def test_a_change_has_one_id_over_crashes_a_second_reading_and_another_host(
    daemon: Daemon, receiver: Receiver, tmp_path: Path
) -> None:
    """E12: the receiver stores and does not answer; another daemon reads the same changes by a slot of its own."""
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    receiver.script = lambda _: drop if len(receiver.received) % 5 == 0 else OK
    with Receiver() as second, Daemon(other_folder, daemon.database, "articles") as other:
        other.document["systems"]["erp"]["postgres"]["slot"] = f"{other.slot}_b"
        other.document["sinks"] = {"crm": way_out(second)}
        other.write()
        daemon.start()
        other.start()
        with Load(daemon.database, "articles", per_second=50) as load:
            for point in ("deliver.after_send:5", "ingest.before_confirm:3"):
                daemon.kill()
                daemon.launch(failpoint=point)
                assert daemon.wait() == -signal.SIGKILL, daemon.log_tail()
            daemon.start()
        wanted = Counter(load.acknowledged)
        wait_for(lambda: Counter(map(told, distinct(receiver))) == wanted, why=daemon.log_tail)
        wait_for(lambda: Counter(map(told, distinct(second))) == wanted, why=other.log_tail)
        assert {change["id"]: told(change) for change in distinct(receiver)} == {
            change["id"]: told(change) for change in distinct(second)
        }
        assert len(receiver.received) > len(distinct(receiver)), "nothing came twice: the ids were not tried"


def distinct(receiver: Receiver) -> list[dict[str, Any]]:
    """The events that came, each once; those of one id are the same event."""
    bodies: dict[str, bytes] = {}
    for one in list(receiver.received):
        assert bodies.setdefault(one.headers["webhook-id"], one.body) == one.body
    return [json.loads(body) for body in bodies.values()]


def told(change: dict[str, Any]) -> tuple[str, int]:
    """Operation and row."""
    return str(change["type"]).split(".")[-2], int(change["subject"])


# -- H4

Break = Callable[[dict[str, Any]], object]
BROKEN: dict[str, Break] = {
    "a url that is none": lambda file: file["sinks"]["crm"]["webhook"].update(url="gopher://127.0.0.1/"),
    "a key that nobody knows": lambda file: file["sinks"]["crm"].update(bacth={"events": 1}),
    "a secret that is not there": lambda file: file["sinks"]["crm"]["webhook"].update(secrets=["${env:NOT_THERE}"]),
    "a filter on no field": lambda file: file["sinks"]["crm"].update(filter="colour == 'red'"),
    "a field that no contract has": lambda file: file["sinks"]["crm"].update(fields=["colour"]),
    "an act that nobody can do": lambda file: file.update(principals={"crm": {"acts": ["reed"]}}),
    "a rule that there is not": lambda file: file.update(alarms={"rules": {"no_such_rule": {}}}),
    "an outlet of no kind": lambda file: file.update(alarms={"outlets": {"ops": {"pigeon": {}}}}),
}


def test_a_broken_way_out_principal_or_alarm_leaves_the_old_configuration_delivering(
    daemon: Daemon, receiver: Receiver
) -> None:
    """H4: each is refused with its place in the file, and the next event goes out as before."""
    daemon.start()
    good = daemon.path.read_text()
    for number, (name, damage) in enumerate(BROKEN.items(), 1):
        file = yaml.safe_load(good)
        damage(file)
        daemon.path.write_text(yaml.safe_dump(file, sort_keys=False))
        daemon.signal(signal.SIGHUP)
        what = daemon.wait_ailment("configuration")["what"]
        assert f"{daemon.path}:" in what or "sinks.crm, stream articles: " in what, f"{name}: {what}"
        insert(daemon, number)
        receiver.wait_for(number)
        daemon.path.write_text(good)
        daemon.signal(signal.SIGHUP)
        daemon.wait_well("configuration")
    assert [json.loads(one.body)["subject"] for one in receiver.received] == [str(n) for n in range(1, len(BROKEN) + 1)]
