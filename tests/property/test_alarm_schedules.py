"""Random causes, silences, acknowledgements and restarts: what people are told of alarms, against a plain twin."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.alarm.judge import Finding
from bridge.alarm.machine import FLAP_S, Acknowledgement, Alarm, Notice, step
from bridge.config.alarms import AlarmsConfig

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
SUBJECTS = ("stream:orders", "stream:lines", "sink:crm")
END_S = 7260  # so long that whatever fired is over and told


@dataclass(frozen=True)
class Moment:
    """One look: how long after the last, what is wrong, what is silenced, whether we died since, and so on."""

    seconds: int
    wrong: frozenset[str]
    silenced: frozenset[str]
    acked: bool
    restarted: bool
    blind: bool


MOMENTS = st.lists(
    st.builds(
        Moment,
        st.sampled_from((1, 5, 30, 90, 600, 4000, 20_000)),
        st.frozensets(st.sampled_from(SUBJECTS)),
        st.one_of(st.just(frozenset()), st.frozensets(st.sampled_from(SUBJECTS))),
        st.booleans(),
        st.booleans(),
        st.sampled_from((False, False, False, True)),
    ),
    max_size=30,
)
CONFIGS = st.builds(
    lambda group, clear, remind, lasts: AlarmsConfig.model_validate(
        {"group_s": group, "clear_s": clear, "remind_hours": remind, "rules": {"component": {"for_s": lasts}}}
    ),
    st.sampled_from((0, 10, 100)),
    st.sampled_from((0, 60)),
    st.sampled_from((0, 4)),
    st.sampled_from((0, 20)),
)


def calm(seconds: int, *wrong: str) -> Moment:
    """A moment with nothing but causes."""
    return Moment(seconds, frozenset(wrong), frozenset(), acked=False, restarted=False, blind=False)


def finding(subject: str) -> Finding:
    scopes = ("system:erp",) if subject.startswith("stream:") else ()
    return Finding("component", subject, "it is down", (), scopes)


def quiet_end(moments: Sequence[Moment]) -> Iterator[tuple[datetime, Moment]]:
    """The moments with their times, and then a long time in which all is well and nothing is silenced."""
    now = START
    for moment in (*moments, calm(1), *(calm(END_S) for _ in range(3))):
        now += timedelta(seconds=moment.seconds)
        yield now, moment


def told(moments: Sequence[Moment], config: AlarmsConfig, *, restarts: bool) -> list[tuple[Moment, Notice]]:
    """What is told, with the moment it was told at."""
    alarms: Mapping[str, Alarm] = {}
    notices: list[tuple[Moment, Notice]] = []
    for now, moment in quiet_end(moments):
        if restarts and moment.restarted:
            alarms = msgspec.json.decode(msgspec.json.encode(alarms), type=dict[str, Alarm])
        turn = step(
            alarms,
            [] if moment.blind else [finding(subject) for subject in sorted(moment.wrong)],
            now=now,
            config=config,
            muted=lambda one: one.subject in moment.silenced,  # noqa: B023  called at once
            acks={number: Acknowledgement("ann", now) for number in alarms} if moment.acked else {},
            blind=("component",) if moment.blind else (),
        )
        alarms = turn.alarms
        notices += [(moment, notice) for notice in turn.notices]
    assert not any(one.is_open for one in alarms.values()), "all is well at last"
    return notices


def by_alarm(notices: Sequence[tuple[Moment, Notice]]) -> dict[str, list[str]]:
    """The transitions told of each alarm, in order."""
    found: dict[str, list[str]] = {}
    for _, notice in notices:
        for alarm in notice.alarms:
            found.setdefault(alarm.id, []).append(notice.transition)
    return found


@settings(max_examples=300, deadline=None)
@given(moments=MOMENTS, config=CONFIGS)
def test_what_fires_is_told_once_and_its_end_once(moments: list[Moment], config: AlarmsConfig) -> None:
    notices = told(moments, config, restarts=False)
    for transitions in by_alarm(notices).values():
        assert (transitions[0], transitions[-1]) == ("firing", "resolved")
        assert {*transitions[1:-1]} <= {"reminder"}
    assert len({notice.id for _, notice in notices}) == len(notices), "each notice has an id of its own"


@settings(max_examples=200, deadline=None)
@given(moments=MOMENTS, config=CONFIGS)
def test_nothing_is_told_of_what_is_silenced(moments: list[Moment], config: AlarmsConfig) -> None:
    for moment, notice in told(moments, config, restarts=False):
        assert not {alarm.subject for alarm in notice.alarms} & moment.silenced


@settings(max_examples=200, deadline=None)
@given(moments=MOMENTS, config=CONFIGS)
def test_a_restart_changes_nothing_of_what_is_told(moments: list[Moment], config: AlarmsConfig) -> None:
    assert told(moments, config, restarts=True) == told(moments, config, restarts=False)


@settings(max_examples=200, deadline=None)
@given(moments=MOMENTS, config=CONFIGS)
def test_one_notice_tells_of_one_group(moments: list[Moment], config: AlarmsConfig) -> None:
    for _, notice in told(moments, config, restarts=False):
        assert {alarm.group for alarm in notice.alarms} == {notice.group}
        assert list(notice.alarms) == sorted(notice.alarms, key=lambda alarm: alarm.id)


@settings(max_examples=300, deadline=None)
@given(moments=MOMENTS, lasts=st.sampled_from((0, 20)), clear=st.sampled_from((0, 60)))
def test_one_subject_is_told_of_as_by_the_plain_twin(moments: list[Moment], lasts: int, clear: int) -> None:
    """Without groups, silences and reminders, in words anybody can check."""
    config = AlarmsConfig.model_validate(
        {"group_s": 0, "clear_s": clear, "remind_hours": 0, "rules": {"component": {"for_s": lasts}}}
    )
    only = [calm(each.seconds, *each.wrong & {"sink:crm"}) for each in moments]
    expected, state, since, gone, ended, returns = [], "well", START, None, START - timedelta(days=1), 0
    for now, moment in quiet_end(only):
        if moment.wrong:
            gone = None
            if state == "well":
                state, since = "pending", now
            if state == "pending" and now - since >= timedelta(seconds=lasts):
                state = "firing"
                returns = returns + 1 if since - ended < timedelta(seconds=FLAP_S) else 0
                expected.append(("firing", now))
        elif state == "pending":
            state = "well"
        elif state == "firing":
            gone = gone or now
            if now - gone >= timedelta(seconds=min(clear * 2**returns, FLAP_S)):
                state, ended = "well", now
                expected.append(("resolved", now))
    assert [(notice.transition, notice.at) for _, notice in told(only, config, restarts=False)] == expected
