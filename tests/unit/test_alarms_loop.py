"""The alarm loop on the in-memory journal: kept before told, told until heard, over restarts, past what hangs."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from bridge.alarm.book import KIND, Book
from bridge.alarm.machine import Alarm, Notice
from bridge.alarm.sight import Sight
from bridge.alarm.wording import Words
from bridge.alarms.loop import Alarms, Telling
from bridge.config.alarms import AlarmsConfig
from bridge.errors import JournalUnavailable, SinkRefused, SinkUnavailable
from bridge.health import Ailment, HealthBoard
from bridge.metrics import Metrics
from bridge.testing import FakeClock, MemoryJournal

DEADLINE_S = 10.0


class Listener:
    """An outlet that keeps what it is told; `answers` says how it ends, the last for all that follow."""

    def __init__(self, *answers: Callable[[], Awaitable[None]], resend_s: float | None = None) -> None:
        self.answers = list(answers)
        self.resend_s = resend_s
        self.told: list[str] = []
        self.refreshed: list[list[str]] = []
        self.heard = threading.Event()

    async def tell(self, notice: Notice) -> None:
        if self.answers:
            await (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])()
        self.told.append(f"{notice.transition} {', '.join(alarm.subject for alarm in notice.alarms)}")
        self.heard.set()

    async def refresh(self, firing: Sequence[Alarm]) -> None:
        self.refreshed.append([alarm.subject for alarm in firing])

    async def close(self) -> None:
        """Nothing to release."""


class Pulse:
    """A sign of life that counts."""

    every_s = 0.01

    def __init__(self) -> None:
        self.beats = 0

    async def beat(self) -> None:
        self.beats += 1

    async def close(self) -> None:
        """Nothing to release."""


async def well() -> None:
    """Taken."""


async def down() -> None:
    raise SinkUnavailable("down")


async def refuse() -> None:
    raise SinkRefused("never")


async def hang() -> None:
    await asyncio.Event().wait()


class World:
    """What the loop sees, and what outlives it."""

    def __init__(self, **config: Any) -> None:  # noqa: ANN401  keys of `alarms`
        self.clock = FakeClock()
        self.journal = MemoryJournal(now=self.clock)
        self.board = HealthBoard(now=self.clock)
        self.metrics = Metrics()
        self.wrong: tuple[str, ...] = ()
        self.config = {"group_s": 0, "clear_s": 0, "rules": {"component": {"for_s": 0}}, **config}

    def look(self) -> Sight:
        ailments = tuple(Ailment(component, self.clock(), "it is down", "mend it") for component in self.wrong)
        return Sight(at=self.clock.advance(1), run="first", ailments=(*ailments, *self.board.ailments()))

    def alarms(
        self,
        outlets: Mapping[str, Listener],
        *,
        beats: Mapping[str, Pulse] | None = None,
        alive: Callable[[], bool] = lambda: True,
    ) -> Alarms:
        """The loop as a start of the daemon makes it."""
        declared = {name: {"apprise": {"url": "a"}} for name in outlets} | self.config.get("outlets", {})
        config = AlarmsConfig.model_validate(self.config | {"outlets": declared})
        telling = Telling(config, Words("acme", "https://docs.example"), outlets, beats or {})
        return Alarms(
            telling,
            self.journal,
            self.look,
            alive=alive,
            board=self.board,
            metrics=self.metrics,
            stop=threading.Event(),
        )

    def firing(self) -> set[str]:
        """Subjects that fire by what is kept."""
        return {one.subject for one in Book(self.journal.kept(KIND)).alarms.values() if one.state == "firing"}


async def until(what: Callable[[], bool]) -> None:
    """Wait for what the loop's tasks do."""
    async with asyncio.timeout(DEADLINE_S):
        while not what():  # noqa: ASYNC110  the world is not a future
            await asyncio.sleep(0.001)


async def posting(alarms: Alarms, what: Callable[[], bool], *names: str) -> None:
    """Let outlets be told until something is so; then the process is gone."""
    tasks = [asyncio.create_task(alarms._post(name)) for name in names]
    try:
        await until(what)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_what_fires_and_its_end_are_told_once_over_restarts() -> None:
    world, ops = World(), Listener()

    async def life(*, wrong: tuple[str, ...], told: int) -> None:
        world.wrong = wrong
        alarms = world.alarms({"ops": ops})
        for _ in range(3):
            await alarms.step()
        await posting(alarms, lambda: len(ops.told) >= told, "ops")

    asyncio.run(life(wrong=("source:erp",), told=1))
    asyncio.run(life(wrong=("source:erp",), told=1))
    assert (ops.told, world.firing()) == (["firing source:erp"], {"source:erp"})
    asyncio.run(life(wrong=(), told=2))
    assert (ops.told, world.firing()) == (["firing source:erp", "resolved source:erp"], set())


def test_an_outlet_that_is_down_gets_all_of_it_later_in_order() -> None:
    world, ops = World(), Listener(down)

    async def first() -> None:
        alarms = world.alarms({"ops": ops})
        for wrong in (("source:erp",), (), ("source:wms",)):
            world.wrong = wrong
            await alarms.step()
        await posting(alarms, lambda: any(one.component == "outlet:ops" for one in world.board.ailments()), "ops")

    async def second() -> None:
        alarms = world.alarms({"ops": ops})
        await alarms.step()
        await posting(alarms, lambda: len(ops.told) >= 3, "ops")

    asyncio.run(first())
    assert ops.told == []
    ops.answers = []
    asyncio.run(second())
    assert ops.told[:3] == ["firing source:erp", "resolved source:erp", "firing source:wms"]


def test_an_outlet_that_hangs_holds_up_no_other_and_one_that_is_down_is_told_of() -> None:
    world = World()
    hung, dead, ops = Listener(hang), Listener(down), Listener()

    async def scenario() -> None:
        world.wrong = ("source:erp",)
        alarms = world.alarms({"hung": hung, "dead": dead, "ops": ops})
        await alarms.step()
        tasks = [asyncio.create_task(alarms._post(name)) for name in ("hung", "dead", "ops")]
        await until(lambda: ops.told == ["firing source:erp"])
        await until(lambda: bool(world.board.ailments()))
        await alarms.step()
        await until(lambda: ops.told[1:] == ["firing outlet:dead"])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_what_an_outlet_never_takes_holds_up_nothing_behind_it() -> None:
    world, ops = World(), Listener(refuse, well)

    async def scenario() -> None:
        alarms = world.alarms({"ops": ops})
        for wrong in (("source:erp",), ("source:erp", "source:wms")):
            world.wrong = wrong
            await alarms.step()
        await posting(alarms, lambda: bool(ops.told), "ops")

    asyncio.run(scenario())
    assert ops.told == ["firing source:wms"]


def test_a_journal_that_cannot_be_written_is_told_of_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    world, ops = World(rules={"journal": {"for_s": 0}, "component": {"for_s": 0}}), Listener()

    def fail(*_: object) -> None:
        raise JournalUnavailable("disk full")

    async def scenario() -> None:
        alarms = world.alarms({"ops": ops})
        await alarms.step()
        with monkeypatch.context() as broken:
            broken.setattr(world.journal, "keep", fail)
            world.wrong = ("source:erp",)
            await alarms.step()
            await alarms.step()
            await posting(alarms, lambda: "firing journal" in ops.told, "ops")
        async with asyncio.timeout(DEADLINE_S):
            while "source:erp" not in world.firing():  # kept once it can be
                await alarms.step()
                await asyncio.sleep(0.001)

    asyncio.run(scenario())
    assert "firing journal" in ops.told


def test_what_was_being_kept_when_the_loop_was_stopped_is_kept_by_the_next_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, asked, go = World(), threading.Event(), threading.Event()

    def fail_late(*_: object) -> None:
        asked.set()
        assert go.wait(DEADLINE_S)
        raise JournalUnavailable("disk full")

    async def scenario() -> None:
        alarms = world.alarms({})
        await alarms.step()
        with monkeypatch.context() as broken:
            broken.setattr(world.journal, "keep", fail_late)
            world.wrong = ("source:erp",)
            turn = asyncio.create_task(alarms.step())
            await until(asked.is_set)
            turn.cancel()
            with pytest.raises(asyncio.CancelledError):
                await turn
            go.set()
        await alarms.step()

    asyncio.run(scenario())
    assert world.firing() == {"source:erp"}


def test_an_outlet_is_told_what_its_route_says() -> None:
    routes = {
        "night": {"apprise": {"url": "a"}, "least": "critical"},
        "slow": {"apprise": {"url": "a"}, "rules": ["validity"]},
    }
    world = World(outlets=routes)
    world.config["rules"] = {"component": {"for_s": 0, "severity": "warning"}}
    night, slow, every = Listener(), Listener(), Listener()

    async def scenario() -> None:
        world.wrong = ("source:erp",)
        alarms = world.alarms({"night": night, "slow": slow, "every": every})
        await alarms.step()
        await posting(alarms, lambda: bool(every.told), "night", "slow", "every")

    asyncio.run(scenario())
    assert (night.told, slow.told, every.told) == ([], [], ["firing source:erp"])


def test_what_fires_is_said_again_to_an_outlet_that_wants_it() -> None:
    world, manager = World(), Listener(resend_s=0.001)

    async def scenario() -> None:
        world.wrong = ("source:erp",)
        alarms = world.alarms({"am": manager})
        await alarms.step()
        await posting(alarms, lambda: len(manager.refreshed) >= 3, "am")

    asyncio.run(scenario())
    assert manager.told == ["firing source:erp"]
    assert manager.refreshed[:3] == [["source:erp"]] * 3


def test_silences_and_acknowledgements_of_operators_count() -> None:
    world, ops = World(), Listener()

    async def scenario() -> None:
        alarms = world.alarms({"ops": ops})
        silence = {
            "of": "source:erp",
            "reason": "a move",
            "by": "cli:ann",
            "starts_at": world.clock().isoformat(),
            "ends_at": world.clock().replace(year=2027).isoformat(),
        }
        world.journal.keep("silence", {"s1": silence})
        world.wrong = ("source:erp",)
        assert await alarms.step() == ()
        world.journal.keep("silence", {"s1": None})
        (notice,) = await alarms.step()
        ack = {"by": "cli:ann", "at": world.clock().isoformat()}
        world.journal.keep("acknowledgement", {notice.alarms[0].id: ack})
        await alarms.step()

    asyncio.run(scenario())
    (kept,) = Book(world.journal.kept(KIND)).alarms.values()
    assert kept.acknowledged is not None


def test_a_sign_of_life_is_given_only_while_every_loop_turns() -> None:
    world, pulse, turning, looks = World(), Pulse(), [True], [0]

    def alive() -> bool:
        looks[0] += 1
        return turning[0]

    async def scenario() -> None:
        alarms = world.alarms({}, beats={"outside": pulse}, alive=alive)
        task = asyncio.create_task(alarms._pulse("outside", pulse))
        await until(lambda: pulse.beats >= 2)
        turning[0] = False
        before, asked = pulse.beats, looks[0]
        await until(lambda: looks[0] >= asked + 10)
        assert pulse.beats == before
        turning[0] = True
        await until(lambda: pulse.beats > before)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_the_loop_ends_when_told_to_and_keeps_what_it_knows() -> None:
    world, ops = World(), Listener()
    world.wrong = ("source:erp",)
    alarms = world.alarms({"ops": ops})
    thread = threading.Thread(target=alarms.run)
    thread.start()
    assert ops.heard.wait(DEADLINE_S)
    alarms._stop.set()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert world.firing() == {"source:erp"}
    assert Book(world.journal.kept(KIND)).owed == {}


def test_alarms_are_counted_by_rule_and_severity() -> None:
    world = World()
    world.wrong = ("source:erp", "source:wms")
    asyncio.run(world.alarms({}).step())
    labels = {"rule": "component", "severity": "critical"}
    assert world.metrics.registry.get_sample_value("bridge_alarms_firing", labels) == 2


def test_what_another_version_kept_is_left_out() -> None:
    world = World()
    world.journal.keep(KIND, {"alarm/a": {"rule": "unheard of"}, "owed/ops/x": {"outlet": 1}})
    world.wrong = ("source:erp",)
    asyncio.run(world.alarms({}).step())
    assert world.firing() == {"source:erp"}
