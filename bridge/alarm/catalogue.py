"""Every rule: its name, its page in docs/runbooks/, and what a person should do. A test holds the two together."""

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.config.alarms import RuleName


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as a person knows it; `{name}` in its action stands for the stream, sink or system."""

    name: RuleName
    slug: str  # its page: docs/runbooks/SLUG.md
    title: str
    action: str


_ALL = (
    Rule("failure_rate", "failure-rate", "calls fail",
         "See what fails: `legacy-bridge status`, and the log for {name}."),
    Rule("stream_silent", "stream-silent", "silent",
         "Ask whether the legacy system is in use; then `legacy-bridge status` and `legacy-bridge doctor`."),
    Rule("stream_late", "stream-late", "late",
         "See how far the source is ahead: `legacy-bridge status`."),
    Rule("validity", "validity", "too many rows rejected",
         "See which rule they break: `legacy-bridge dead list --stream {name}`."),
    Rule("slot_filling", "slot-filling", "replication slot fills up",
         "Find out why it is not read: `legacy-bridge status`; the server is in danger when it is full."),
    Rule("disk_filling", "disk-filling", "the journal's disk fills up",
         "Free space or lower `bridge.retain`; at a full disk nothing is read any more."),
    Rule("breaker_open", "breaker-open", "receiver is left alone",
         "See why: `legacy-bridge sink show {name}`; it is tried again by itself."),
    Rule("sink_gone", "sink-gone", "receiver wants nothing any more",
         "Ask its owner, then `legacy-bridge sink resume {name}`."),
    Rule("dead_letters", "dead-letters", "dead letters wait",
         "See why: `legacy-bridge dead list`; mend, then `legacy-bridge dead replay`."),
    Rule("snapshot_stuck", "snapshot-stuck", "re-read makes no progress",
         "See `legacy-bridge status`; then `legacy-bridge snapshot {name} --cancel` and start it anew."),
    Rule("run_failed", "run-failed", "its last run failed",
         "See why: `legacy-bridge runs --stream {name}`; it is tried again by its schedule."),
    Rule("run_late", "run-late", "was not read in time",
         "See what keeps it: `legacy-bridge runs --stream {name}` and `legacy-bridge status`."),
    Rule("run_long", "run-long", "its run takes long",
         "See what it waits for: `legacy-bridge runs --stream {name}`; `legacy-bridge runs cancel {name}` ends it."),
    Rule("clock_off", "clock-off", "a clock is wrong",
         "Check the time service here and on the legacy system: `timedatectl`."),
    Rule("journal", "journal-unwritable", "the journal cannot be used",
         "Look at the disk below the journal: `df`, `legacy-bridge journal verify`."),
    Rule("component", "component-failing", "fails",
         "See `legacy-bridge status`."),
)  # fmt: skip
RULES: Mapping[str, Rule] = {rule.name: rule for rule in _ALL}
