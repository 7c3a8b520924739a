"""Putting a daemon together: contracts, judges, loops, and what a stopped loop means for the process."""

import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.alarms.lookout import Lookout
from bridge.app import Loops, build_judges, build_loops, load_contracts, pin_contracts, systems_of
from bridge.bell import Bell
from bridge.config.load import load
from bridge.config.models import Config
from bridge.contract.document import ContractDocument
from bridge.daemon import Daemon
from bridge.errors import ConfigError, JournalCorrupt
from bridge.health import HealthBoard
from bridge.metrics import Metrics
from bridge.model import Commit, Op, StreamPhase, StreamState
from bridge.notify import Notifier
from bridge.testing import MemoryJournal
from bridge.ways import build_postgres
from tests import shelf
from tests.shelf import SHAPE, START, raw


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration of two systems; one has two streams, the other none."""
    postgres = {"host": "127.0.0.1", "port": 1, "database": "d", "user": "u"}
    for stream in ("item", "order"):
        text = yaml.safe_dump({**shelf.contract().data, "id": stream})
        (tmp_path / f"{stream}.odcs.yaml").write_text(text)
    streams = {
        "item": {"system": "erp", "log": "shop.item", "contract": "item.odcs.yaml", "on_reject": "hold"},
        "order": {"system": "erp", "log": "shop.order", "contract": "order.odcs.yaml"},
    }
    document = {
        "bridge": {"name": "test", "type_prefix": "com.example", "journal": {"sqlite": "journal.db"}},
        "systems": {"erp": {"postgres": postgres}, "crm": {"postgres": {**postgres, "database": "e"}}},
        "streams": streams,
    }
    written = tmp_path / "bridge.yaml"
    written.write_text(yaml.safe_dump(document))
    return written


@pytest.fixture
def config(path: Path) -> Config:
    return load(path)


@pytest.fixture
def documents(config: Config) -> dict[str, ContractDocument]:
    return load_contracts(config)


def built(config: Config, documents: dict[str, ContractDocument]) -> Loops:
    """Loops that were not started."""
    return build_loops(
        config,
        documents,
        MemoryJournal(),
        board=HealthBoard(),
        metrics=Metrics(),
        reload=lambda _number: (),
        bell=Bell(),
    )


def test_mistakes_of_every_contract_are_said_at_once(config: Config, path: Path) -> None:
    for stream in ("item", "order"):
        (path.parent / f"{stream}.odcs.yaml").write_text("kind: DataContract\n")
    with pytest.raises(ConfigError) as raised:
        load_contracts(config)
    assert "item.odcs.yaml" in raised.value.detail
    assert "order.odcs.yaml" in raised.value.detail


def test_a_published_contract_cannot_be_changed_in_place() -> None:
    journal = MemoryJournal()
    pin_contracts(journal, {"item": shelf.contract()})
    pin_contracts(journal, {"item": shelf.contract()})
    with pytest.raises(ConfigError, match=r"version 1\.0\.0 of shop-item was published with other content"):
        pin_contracts(journal, {"item": shelf.contract(minimum=-5)})
    pin_contracts(journal, {"item": shelf.contract(version="1.1.0", minimum=-5)})


def test_a_judge_begins_with_what_the_journal_remembers(config: Config, documents: dict[str, ContractDocument]) -> None:
    journal = MemoryJournal()
    ruling = shelf.judge().check(raw((Op.CREATE, 1, -1)), epoch=1)
    assert ruling.letters is not None
    state = StreamState("item", StreamPhase.RUNNING, START, "", SHAPE)
    journal.append(Commit(letters=(ruling.letters,), streams=(state,)))
    judges = build_judges(config, documents, journal)
    assert judges["item"].state == state
    assert judges["item"].judge(raw((Op.UPDATE, 1, 5)), epoch=1, now=START).waits == {"1"}
    assert judges["order"].state is None
    assert not judges["order"].holds


def test_each_system_with_a_stream_is_read(config: Config, documents: dict[str, ContractDocument]) -> None:
    loops = built(config, documents)
    assert {name: flow.streams for name, flow in loops.flows.items()} == {"erp": {"item", "order"}}
    assert [thread.name for thread in loops.threads] == ["pump-erp", "ingest", "alarms"]
    assert systems_of(config) == {"item": "erp", "order": "erp"}


def test_a_source_knows_the_keys_of_its_tables(config: Config, documents: dict[str, ContractDocument]) -> None:
    source = build_postgres(config, "erp", documents)
    assert [(one.stream, one.table, one.key_columns) for one in source._settings.captures] == [
        ("item", "shop.item", ("id",)),
        ("order", "shop.order", ("id",)),
    ]


def test_the_slowest_loop_tells_whether_all_are_alive_and_an_ended_one_does_not(
    config: Config, documents: dict[str, ContractDocument]
) -> None:
    """A source that waits for a person must not look like a loop that hangs."""
    loops = built(config, documents)
    loops.pumps[0]._is_open = True
    loops.pumps[0]._turned_at, loops.ingest.turned_at = 1.0, 2.0
    assert loops.turned_at() == 2.0
    going = threading.Event()
    loops.threads[0] = threading.Thread(target=going.wait)
    loops.threads[0].start()
    assert loops.turned_at() == 1.0
    going.set()
    loops.threads[0].join()


def test_a_system_that_a_reload_leaves_is_named(
    path: Path, config: Config, documents: dict[str, ContractDocument]
) -> None:
    """Its slot goes on holding WAL on the legacy server until somebody takes it away."""
    document = yaml.safe_load(path.read_text())
    for declared in document["streams"].values():
        declared["system"] = "crm"
    path.write_text(yaml.safe_dump(document))
    daemon: Any = Daemon(path)
    daemon._loops = built(config, documents)
    daemon._loops.threads.clear()
    daemon._next = load(path), documents
    daemon._change_over(Notifier())
    try:
        checks = daemon._board.report()["checks"]
    finally:
        daemon._loops.end()
    assert checks["source:erp"]["status"] == "warn"
    assert "decommission" in checks["source:erp"]["action"]


def test_what_stopped_the_journal_is_what_the_process_ends_with(
    path: Path, config: Config, documents: dict[str, ContractDocument]
) -> None:
    """So that the exit code tells it."""
    daemon: Any = Daemon(path)
    daemon._loops = built(config, documents)
    daemon._loops.threads.clear()
    daemon._end_loops()
    daemon._loops.ingest.failure = JournalCorrupt("a block is damaged")
    with pytest.raises(JournalCorrupt):
        daemon._end_loops()


def test_a_bridge_without_sinks_delivers_nothing_and_still_names_the_cursors_of_former_ones(
    config: Config, documents: dict[str, ContractDocument]
) -> None:
    journal, board = MemoryJournal(), HealthBoard()
    journal.advance("crm", {"item": 0})
    loops = build_loops(
        config, documents, journal, board=board, metrics=Metrics(), reload=lambda _number: (), bell=Bell()
    )
    assert "deliver" not in {thread.name for thread in loops.threads}
    loops.watch.step()
    assert "cursor:crm" in board.report()["checks"]


def test_of_what_nobody_has_reported_on_yet_no_alarm_ends(
    config: Config, documents: dict[str, ContractDocument]
) -> None:
    journal, board = MemoryJournal(), HealthBoard()
    flows, judges = built(config, documents).flows, build_judges(config, documents, journal)
    lookout = Lookout(config, journal, flows=flows, judges=judges, board=board, points=Metrics().points)
    unknown = {"component source:erp", "component stream:item", "component stream:order"}
    assert unknown <= lookout.look().blind
    board.fail("source:erp", "down", "start it")
    board.ok("stream:item")
    assert {one for one in lookout.look().blind if one in unknown} == {"component stream:order"}
