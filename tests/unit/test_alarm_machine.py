"""Single steps of an alarm's life that the random schedules do not spell out; silences, windows and words."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from bridge.alarm import wording
from bridge.alarm.catalogue import RULES
from bridge.alarm.judge import Finding
from bridge.alarm.machine import KEPT_COUNT, Acknowledgement, Alarm, Turn, hold, step
from bridge.alarm.quiet import Quiet, is_in, is_muted
from bridge.cli import cli
from bridge.config.alarms import AlarmsConfig, MaintenanceConfig
from tests.shelf import START

ALARMS_PAGE = Path(__file__).parents[2] / "docs" / "alarms.md"
RUNBOOKS = ALARMS_PAGE.parent / "runbooks"
WORDS = wording.Words("acme", "https://docs.example/runbooks")
DOWN = Finding("component", "source:erp", "connection refused", ("orders",), ("system:erp",))
PROMPT = AlarmsConfig.model_validate({"group_s": 0, "clear_s": 0, "rules": {"component": {"for_s": 0}}})


def fire(finding: Finding = DOWN, config: AlarmsConfig = PROMPT) -> Turn:
    return step({}, [finding], now=START, config=config)


def only(turn: Turn) -> Alarm:
    (alarm,) = turn.alarms.values()
    return alarm


def test_alarms_of_a_group_that_fire_within_ten_seconds_are_told_at_once() -> None:
    config = AlarmsConfig.model_validate({"rules": {"validity": {"for_s": 0}}})
    both = [Finding("validity", f"stream:{name}", "", (), ("system:erp",)) for name in ("orders", "lines")]
    turn = step({}, both[:1], now=START, config=config)
    turn = step(turn.alarms, both, now=START + timedelta(seconds=9), config=config)
    assert turn.notices == ()
    turn = step(turn.alarms, both, now=START + timedelta(seconds=10), config=config)
    (notice,) = turn.notices
    assert {alarm.subject for alarm in notice.alarms} == {"stream:orders", "stream:lines"}


def test_a_cause_counts_from_its_own_beginning() -> None:
    config = AlarmsConfig.model_validate({"group_s": 0})
    known = Finding("component", "source:erp", "", since=START - timedelta(seconds=60))
    assert only(step({}, [known], now=START, config=config)).state == "firing"
    assert only(step({}, [DOWN], now=START, config=config)).state == "pending"


def test_what_keeps_coming_back_must_stay_away_longer() -> None:
    alarms, now, holds = fire().alarms, START, []
    config = AlarmsConfig.model_validate({"group_s": 0, "rules": {"component": {"for_s": 0}}})
    for _ in range(4):
        alarm = next(one for one in alarms.values() if one.is_open)
        holds.append(hold(alarm, config).total_seconds())
        while alarms[alarm.id].is_open:
            now += timedelta(seconds=30)
            alarms = step(alarms, [], now=now, config=config).alarms
        alarms = step(alarms, [DOWN], now=now, config=config).alarms
    assert holds == [60, 120, 240, 480]


def test_a_reminder_comes_every_four_hours_until_somebody_acknowledges() -> None:
    turn = fire()
    later = START + timedelta(hours=4)
    assert step(turn.alarms, [DOWN], now=later - timedelta(seconds=1), config=PROMPT).notices == ()
    (reminder,) = step(turn.alarms, [DOWN], now=later, config=PROMPT).notices
    assert reminder.transition == "reminder"
    acks = {only(turn).id: Acknowledgement("ann", START)}
    acknowledged = step(turn.alarms, [DOWN], now=later, config=PROMPT, acks=acks)
    assert acknowledged.notices == ()
    assert only(acknowledged).acknowledged == acks[only(turn).id]


def test_an_end_in_a_silence_is_told_after_it_and_a_return_in_it_is_no_news() -> None:
    turn = fire()
    ended = step(turn.alarms, [], now=START + timedelta(hours=1), config=PROMPT, muted=lambda _: True)
    assert (only(ended).state, ended.notices) == ("resolved", ())
    (end,) = step(ended.alarms, [], now=START + timedelta(hours=2), config=PROMPT).notices
    assert end.transition == "resolved"
    back = step(ended.alarms, [DOWN], now=START + timedelta(hours=2), config=PROMPT)
    assert (only(back).state, back.notices) == ("firing", ())


@pytest.mark.parametrize("blind", ["component", "component source:erp"])
def test_a_rule_that_cannot_look_leaves_its_alarms_as_they_are(blind: str) -> None:
    turn = fire()
    after = step(turn.alarms, [], now=START + timedelta(hours=1), config=PROMPT, blind=(blind,))
    assert only(after) == only(turn)


def test_old_alarms_are_forgotten_and_open_ones_never() -> None:
    done = {
        f"{number:010}": Alarm(
            f"{number:010}", "component", "x", "warning", "", (), "x", (), START, "resolved",
            resolved_at=START + timedelta(seconds=number), told_at=START, told_resolved=True,
        )
        for number in range(KEPT_COUNT + 5)
    }  # fmt: skip
    firing = fire().alarms
    kept = step({**done, **firing}, [DOWN], now=START + timedelta(hours=1), config=PROMPT).alarms
    assert len(kept) == KEPT_COUNT + 1
    assert min(kept.keys() - firing.keys()) == f"{5:010}"
    assert (
        step({**done, **firing}, [DOWN], now=START + timedelta(days=31), config=PROMPT).alarms.keys() == firing.keys()
    )


# -- silences and windows


def quiet(of: str, rule: str = "*") -> Quiet:
    return Quiet(of, "a move", "cli:ann", START, START + timedelta(hours=1), rule)


@pytest.mark.parametrize(
    ("of", "rule", "covered"),
    [
        ("*", "*", True),
        ("source:erp", "*", True),
        ("system:erp", "component", True),
        ("system:erp", "validity", False),
        ("system:wms", "*", False),
    ],
)
def test_a_silence_covers_what_it_names(of: str, rule: str, covered: bool) -> None:  # noqa: FBT001  the claim's own
    alarm = only(fire())
    assert quiet(of, rule).covers(alarm, START) is covered
    assert not quiet(of, rule).covers(alarm, START + timedelta(hours=1))
    assert not quiet(of, rule).covers(alarm, START - timedelta(seconds=1))
    assert quiet(alarm.id).covers(alarm, START)


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-11-20T21:00:00+00:00", True),  # Friday 22:00 in Vienna
        ("2026-11-20T20:59:59+00:00", False),
        ("2026-11-21T00:59:59+00:00", True),  # Saturday 01:59:59
        ("2026-11-21T01:00:00+00:00", False),
        ("2026-11-21T21:00:00+00:00", False),  # Saturday is not named
        ("2026-07-24T20:00:00+00:00", True),  # summer time
        ("2026-07-24T19:59:59+00:00", False),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_it_begins_on(moment: str, inside: bool) -> None:  # noqa: FBT001
    window = MaintenanceConfig.model_validate({"days": ["fri"], "hours": "22:00-02:00", "time_zone": "Europe/Vienna"})
    assert is_in(window, datetime.fromisoformat(moment)) is inside


def test_a_window_may_be_a_whole_day_or_once() -> None:
    day = MaintenanceConfig.model_validate({"days": ["sun"], "hours": "00:00-24:00"})
    assert [is_in(day, START + timedelta(hours=hours)) for hours in (-9, -8, 15.99, 16)] == [False, True, True, False]
    once = MaintenanceConfig.model_validate({"starts": START, "ends": START + timedelta(hours=1)})
    assert [is_in(once, START + timedelta(minutes=minutes)) for minutes in (-1, 0, 59, 60)] == [
        False, True, True, False,
    ]  # fmt: skip


def test_maintenance_mutes_what_it_names() -> None:
    config = AlarmsConfig.model_validate(
        {"maintenance": {"move": {"of": ["system:erp"], "starts": START, "ends": START + timedelta(hours=1)}}}
    )
    alarm = only(fire())
    assert is_muted(alarm, now=START, quiets=(), config=config)
    other = only(fire(Finding("breaker_open", "sink:crm", "")))
    assert not is_muted(other, now=START, quiets=(), config=config)
    assert is_muted(other, now=START, quiets=(quiet("sink:crm"),), config=config)


# -- words


def test_a_person_reads_what_since_when_what_suffers_and_what_to_do() -> None:
    (notice,) = fire().notices
    assert wording.title(notice, WORDS) == "[acme] FIRING: source erp: fails"
    assert wording.text(notice, WORDS).splitlines() == [
        "source erp: fails (critical): connection refused",
        "since 2026-03-01 08:00:00Z",
        "concerns orders",
        "See `legacy-bridge status`.",
        "https://docs.example/runbooks/component-failing.md",
        f"alarm {notice.alarms[0].id}: legacy-bridge alarm ack {notice.alarms[0].id}",
    ]


def test_an_action_names_what_it_is_about() -> None:
    alarm = only(fire(Finding("sink_gone", "sink:crm", "")))
    assert alarm.action == "Ask its owner, then `legacy-bridge sink resume crm`."


def test_texts_are_bounded() -> None:
    config = AlarmsConfig.model_validate({"group_s": 0, "rules": {"validity": {"for_s": 0}}})
    many = [
        Finding("validity", f"stream:s{number}", "x" * 10_000, tuple(f"t{n}" for n in range(100)), ("system:erp",))
        for number in range(100)
    ]
    (notice,) = step({}, many, now=START, config=config).notices
    assert len(wording.text(notice, WORDS)) < 20_000
    assert "and 99 more" in wording.title(notice, WORDS)
    assert "and 80 more: legacy-bridge alarm list" in wording.text(notice, WORDS)


def test_every_rule_has_words() -> None:
    assert {*RULES} == {*AlarmsConfig.model_validate({}).rules.model_dump()}
    assert len({rule.slug for rule in RULES.values()}) == len(RULES)
    assert all(rule.action.endswith(".") or rule.action.endswith("`.") for rule in RULES.values())


def test_every_rule_has_its_runbook_and_every_runbook_its_rule() -> None:
    pages = {page.stem: page.read_text(encoding="utf-8") for page in RUNBOOKS.glob("*.md")}
    assert pages.keys() == {rule.slug for rule in RULES.values()}
    headings = ["What it means", "What it blocks", "How to look", "What to do", "When to escalate"]
    for rule in RULES.values():
        page = pages[rule.slug]
        assert re.findall(r"^## (.+)$", page, re.MULTILINE) == headings, rule.slug
        assert f"`{rule.name}`" in page, "an operator finds the rule by its name"
        assert f"runbooks/{rule.slug}.md" in ALARMS_PAGE.read_text(encoding="utf-8")


COMMAND = re.compile(r"legacy-bridge ([a-z][^`\n#;|]*)")


def test_every_command_in_a_runbook_or_an_action_exists() -> None:
    """A person who is woken at night types them as they stand."""
    texts = {page.name: page.read_text(encoding="utf-8") for page in [*RUNBOOKS.glob("*.md"), ALARMS_PAGE]}
    texts |= {rule.name: rule.action for rule in RULES.values()}
    found = [(place, line.strip()) for place, text in texts.items() for line in COMMAND.findall(text)]
    assert len(found) > 40
    assert [f"{place}: {line}: {problem}" for place, line in found if (problem := wrong_with(line.split()))] == []


def wrong_with(words: list[str]) -> str:
    """What is wrong with a command line; "" for nothing."""
    here: Any = get_command(cli)
    while words and words[0] in getattr(here, "commands", {}):
        here = here.commands[words.pop(0)]
    is_command = getattr(here, "invoke_without_command", True) and all(word.startswith("--") for word in words[:1])
    if hasattr(here, "commands") and not is_command:
        return f"{here.name} has no command {words[:1]}"
    options = {name for each in here.params for name in each.opts}
    return ", ".join(word for word in words if word.startswith("--") and word.rstrip(".,") not in options)
