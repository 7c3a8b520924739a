"""Each rule: what is wrong and what is not, what it says, what is off."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from bridge.alarm.judge import Finding, judge
from bridge.alarm.memory import Memory
from bridge.alarm.sight import DiskSight, RunSight, Sight, SinkSight, SlotSight, StreamSight
from bridge.config.alarms import AlarmsConfig
from bridge.health import Ailment
from tests.shelf import START

GB = 10**9


class Looking:
    """Looks a minute apart unless told otherwise."""

    def __init__(self, **config: Any) -> None:  # noqa: ANN401  keys of `alarms`
        self.config = AlarmsConfig.model_validate(config)
        self.memory = Memory()
        self.at = START
        self.run = "first"

    def look(self, *, after_s: float = 60, **seen: Any) -> dict[str, str]:  # noqa: ANN401  fields of Sight
        """What is wrong now, by rule and subject."""
        self.at += timedelta(seconds=after_s)
        sight = Sight(at=self.at, run=self.run, started_at=START, **seen)
        self.memory.see(sight)
        return {f"{each.rule} {each.subject}": each.what for each in judge(sight, self.memory, self.config)}

    def restart(self) -> None:
        document = msgspec.json.decode(msgspec.json.encode(self.memory.document()))
        self.memory = Memory.recall(document, minutes=60)
        self.run = "second"


def stream(**fields: Any) -> dict[str, StreamSight]:  # noqa: ANN401  of StreamSight
    return {"orders": replace(StreamSight("erp"), **fields)}


CALLS = "failure_rate sink:crm"


def test_a_failure_rate_fires_when_the_long_and_the_short_window_are_over_it() -> None:
    looking = Looking()
    assert looking.look(calls={"sink:crm": (1000, 0)}) == {}
    assert looking.look(calls={"sink:crm": (1000, 4)}) == {}, "0.4 % are allowed"
    found = looking.look(calls={"sink:crm": (1000, 8)})
    assert found == {
        CALLS: "8 of 1008 calls failed within 1 h (0.79 %), and 0.79 % within 5 min; 0.5 % are allowed",
    }
    assert looking.look(after_s=300, calls={"sink:crm": (2000, 8)}) == {}, "the short window is well again"


def test_few_calls_or_few_failures_say_nothing() -> None:
    assert Looking().look(calls={"sink:crm": (10, 9)}) == {}
    assert Looking().look(calls={"sink:crm": (30, 2)}) == {}


def test_calls_are_remembered_over_a_restart_and_counted_once() -> None:
    looking = Looking()
    looking.look(calls={"sink:crm": (50, 5)})
    looking.restart()
    assert CALLS in looking.look(calls={})
    assert looking.look(calls={"sink:crm": (1, 0)})[CALLS].startswith("5 of 56 calls")
    looking.restart()
    looking.run = "first"  # a reload: the same process counts on
    assert looking.look(calls={"sink:crm": (1, 0)})[CALLS].startswith("5 of 57 calls")


def test_a_limit_may_differ_for_one_sink() -> None:
    assert Looking(sinks={"crm": {"failure_percent": 20}}).look(calls={"sink:crm": (50, 5)}) == {}
    assert CALLS in Looking(sinks={"crm": {"failure_percent": 5}}).look(calls={"sink:crm": (50, 5)})


def test_a_stream_is_silent_after_twice_its_frequency_or_its_own_time() -> None:
    looking = Looking()
    often = stream(last_journalled_at=START, frequency_s=120.0)
    assert looking.look(after_s=240, streams=often) == {}
    assert "stream_silent stream:orders" in looking.look(after_s=1, streams=often)
    own = Looking(streams={"orders": {"silent_after_s": 60}})
    assert own.look(after_s=61, streams=stream()).keys() == {"stream_silent stream:orders"}, "since the start"
    assert Looking().look(after_s=10**6, streams=stream(last_journalled_at=START)) == {}, "nobody knows what is usual"


def test_a_stream_is_late_against_its_contract_while_events_come() -> None:
    looking = Looking()
    late = stream(last_commit_at=START - timedelta(seconds=90), last_journalled_at=START, latency_s=60.0)
    assert looking.look(streams=late) == {
        "stream_late stream:orders": "its newest event was 90 s old when it came, 1 min are allowed"
    }
    assert looking.look(after_s=1000, streams=late) == {}, "nothing comes now"
    assert Looking(streams={"orders": {"late_after_s": 100}}).look(streams=late) == {}


def test_validity_is_judged_against_the_contract() -> None:
    assert Looking().look(streams=stream(error_percent=1.0, allowed_percent=1.0)) == {}
    found = Looking().look(streams=stream(error_percent=1.25, allowed_percent=1.0))
    assert found == {"validity stream:orders": "1.25 % of its rows are rejected, 1 % are allowed"}


@pytest.mark.parametrize(
    ("slot", "fires"),
    [
        (SlotSight(0.5, None), True),
        (SlotSight(0.49, None), False),
        (SlotSight(0.2, 11.0), True),
        (SlotSight(0.2, 13.0), False),
        (SlotSight(0.05, 0.5), False),
    ],
    ids=["half full", "not growing", "soon full", "later full", "a burst into an empty one"],
)
def test_a_slot_fills_up(slot: SlotSight, fires: bool) -> None:  # noqa: FBT001  the claim's own
    assert ("slot_filling source:erp" in Looking().look(slots={"erp": slot})) is fires


def test_a_disk_is_watched_by_what_is_left_and_by_how_long_that_lasts() -> None:
    assert "disk_filling disk" in Looking().look(disk=DiskSight(4 * GB, 100 * GB))
    looking = Looking()
    assert looking.look(disk=DiskSight(60 * GB, 100 * GB)) == {}
    found = looking.look(after_s=3000, disk=DiskSight(50 * GB, 100 * GB))
    assert found == {"disk_filling disk": "50.0 GB are free (50 %), which lasts 4.17 h at the rate of the last hour"}


def test_a_breaker_and_a_receiver_that_is_gone_are_two_things() -> None:
    open_one = SinkSight(("orders",), breaker="open", breaker_since=START, breaker_why="503")
    assert Looking().look(sinks={"crm": open_one}) == {"breaker_open sink:crm": "its breaker is open: 503"}
    gone = replace(open_one, gone_since=START, gone_why="410")
    assert Looking().look(sinks={"crm": gone}) == {"sink_gone sink:crm": "it said that it wants nothing any more: 410"}


def test_dead_letters_are_watched_by_number_and_by_growth() -> None:
    assert "dead_letters stream:orders" in Looking().look(streams=stream(letters=1001))
    looking = Looking()
    assert looking.look(sinks={"crm": SinkSight(letters=10)}) == {}
    assert looking.look(after_s=600, sinks={"crm": SinkSight(letters=120)}) == {
        "dead_letters sink:crm": "110 dead letters came within 10 min, 120 are open"
    }
    assert looking.look(after_s=3660, sinks={"crm": SinkSight(letters=120)}) == {}, "they grow no more"
    assert "dead_letters stream:orders" in Looking(streams={"orders": {"dead_letters": 0}}).look(
        streams=stream(letters=1)
    )


def test_a_re_read_is_stuck_since_its_last_row() -> None:
    looking = Looking()
    assert looking.look(rereads={"orders": 100}) == {}
    assert looking.look(rereads={"orders": 200}) == {}
    found = looking.look(rereads={"orders": 200}, streams=stream())
    assert found == {"snapshot_stuck stream:orders": "its re-read stands at 200 rows since 2026-03-01 08:02:00Z"}
    looking.restart()
    assert "08:02:00Z" in looking.look(rereads={"orders": 200})["snapshot_stuck stream:orders"]
    assert looking.look(rereads={}) == {}


def test_a_clock_that_jumps_is_told_of_for_ten_minutes() -> None:
    looking = Looking()
    assert looking.look(offset_s=1000.0) == {}
    assert "jumped by -30 s" in looking.look(offset_s=970.0)["clock_off clock"]
    assert "clock_off clock" in looking.look(after_s=599, offset_s=970.0)
    assert looking.look(after_s=2, offset_s=970.0) == {}
    assert looking.look(offset_s=966.0) == {}, "less than five seconds"


def test_a_new_process_begins_its_monotonic_clock_anew() -> None:
    looking = Looking()
    looking.look(offset_s=1000.0)
    looking.restart()
    assert looking.look(offset_s=5.0) == {}


def test_commits_in_the_future_are_a_clock_that_is_off() -> None:
    ahead = stream(last_commit_at=START + timedelta(seconds=90), last_journalled_at=START)
    assert Looking().look(streams=ahead) == {
        "clock_off stream:orders": "its newest event was committed 90 s in the future"
    }


def test_what_the_health_page_calls_fail_is_told_unless_another_rule_does() -> None:
    down = Ailment("source:erp", START, "connection refused", "start it", ("orders",))
    slow = replace(down, component="stream:orders", level="warn")
    full = replace(down, component="slot.filling:erp")
    disk = replace(down, component="journal", what="disk full")
    found = Looking().look(ailments=(down, slow, full, disk), slots={"erp": SlotSight(0.1, None)}, streams=stream())
    assert found == {"component source:erp": "connection refused", "journal journal": "it cannot be used: disk full"}


def test_what_we_cannot_store_ourselves_is_the_journals_fault() -> None:
    assert Looking().look(unwritable="disk full") == {"journal journal": "it cannot be written: disk full"}


@pytest.mark.parametrize(
    "off",
    [
        {"off": ["validity"]},
        {"streams": {"orders": {"off": ["validity"]}}},
        {"systems": {"erp": {"off": ["validity"]}}},
    ],
    ids=["everywhere", "for the stream", "for its system"],
)
def test_a_rule_can_be_switched_off(off: dict[str, Any]) -> None:
    assert Looking(**off).look(streams=stream(error_percent=9.0, allowed_percent=1.0)) == {}


def test_streams_of_one_system_are_one_group_for_a_rule() -> None:
    one = Finding("validity", "stream:orders", "", (), ("system:erp",))
    assert one.group == replace(one, subject="stream:lines").group != replace(one, rule="stream_late").group
    assert Finding("breaker_open", "sink:crm", "").group == "breaker_open/sink:crm"


def test_what_a_source_beside_a_change_log_suffers_is_its_systems() -> None:
    """So that whoever silences the system, or gives it a limit of its own, means this source too."""
    down = Ailment("source:erp/views", START, "refused", "", ("orders",))
    calls = {"source:erp/views": (50, 5)}
    found = Looking().look(ailments=(down,), calls=calls, streams=stream())
    assert found.keys() == {"component source:erp/views", "failure_rate source:erp/views"}
    off = {"erp": {"off": ["component"], "failure_percent": 20}}
    assert Looking(systems=off).look(ailments=(down,), calls=calls, streams=stream()) == {}


def test_runs_of_polled_streams_that_failed_are_late_or_take_long() -> None:
    failed = stream(runs=RunSight(failed="the system is down", failed_at=START))
    assert Looking().look(streams=failed) == {"run_failed stream:orders": "its last run failed: the system is down"}
    late = stream(runs=RunSight(due_since=START))
    assert Looking().look(streams=late) == {
        "run_late stream:orders": "it should have been read at 2026-03-01 08:00:00Z, and no run has begun"
    }
    long = stream(runs=RunSight(running_s=361, usually_s=120))
    assert Looking().look(streams=long) == {"run_long stream:orders": "its run has taken 6.02 min, usual are 2 min"}
    assert Looking().look(streams=stream(runs=RunSight(running_s=360, usually_s=120))) == {}
    assert Looking().look(streams=stream(runs=RunSight(running_s=59, usually_s=1))) == {}, "short in any case"
    assert Looking().look(streams=stream(runs=RunSight(running_s=9_999))) == {}, "nothing is usual yet"
