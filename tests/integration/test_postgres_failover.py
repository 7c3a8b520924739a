"""The primary dies and a standby takes over: what a safe slot kept comes through, what it did not is declared."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.postgres.session import ConnectSettings, connect
from bridge.sources.postgres import slot as slots
from demo.server import VERSIONS, Database, PostgresServer
from tests.daemon import prepare, wait_for
from tests.loops import Bridge

pytestmark = pytest.mark.skipif(next(iter(VERSIONS), "0") < "17", reason="failover slots are of PostgreSQL 17")

STANDBY = {"sync_replication_slots": "on", "hot_standby_feedback": "on", "wal_receiver_status_interval": "1s"}


class Pair:
    """A primary with a hot standby, and a bridge that finds whichever takes writes."""

    def __init__(self, primary: PostgresServer, standby: PostgresServer, bridge: Bridge) -> None:
        self.primary = primary
        self.standby = standby
        self.bridge = bridge
        self._rows = 0

    def insert(self, count: int) -> None:
        """New rows on the primary."""
        first = self._rows + 1
        self._rows += count
        self.bridge.database.sql(
            f"INSERT INTO shop.item SELECT i, 'n', i FROM generate_series({first}, {self._rows}) i"
        )

    def wait_durable(self) -> None:
        """Wait until the standby's copy of the slot would survive; it does so only while the slot moves."""
        place = ConnectSettings("test", self.standby.host, self.standby.port, "postgres", "postgres")
        with connect(place, purpose="guard") as session:

            def is_durable() -> bool:
                self.insert(1)
                self.primary.sql("SELECT pg_log_standby_snapshot()")
                state = slots.observe(session, self.bridge.daemon.slot)
                return state is not None and state.survives_failover

            wait_for(is_durable, every_s=0.2)

    def wait_replayed(self) -> None:
        """Wait until the standby has everything the primary wrote."""
        end = self.primary.sql("SELECT pg_current_wal_lsn()::text")[0][0]
        wait_for(lambda: self.standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{end}'") == [(True,)])

    def fail_over(self) -> None:
        """The primary dies as by `kill -9`; the standby takes its place."""
        self.primary.stop("immediate")
        self.standby.promote()
        self.bridge.database = Database(self.standby, "postgres")


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Parametrised by the system's `failover`."""
    with PostgresServer.start(settings={"fsync": "off"}) as primary:
        database = Database(primary, "postgres")
        prepare(database, "item")
        with PostgresServer.standby_of(primary, settings=STANDBY) as standby:
            bridge = Bridge(tmp_path, database, "item")
            service = tmp_path / "pg_service.conf"
            service.write_text(
                f"[erp]\nhost={primary.host},{standby.host}\nport={primary.port},{standby.port}\n"
                "target_session_attrs=primary\n"
            )
            monkeypatch.setenv("PGSERVICEFILE", str(service))
            section: dict[str, Any] = {**bridge.postgres, "service": "erp", "failover": request.param}
            bridge.system["postgres"] = {key: section[key] for key in section if key not in ("host", "port")}
            yield Pair(primary, standby, bridge)


@pytest.mark.parametrize("pair", [True], indirect=True, ids=["failover slot"])
def test_a_slot_that_is_safe_brings_every_row_over(pair: Pair) -> None:
    """B4: 500 rows that nobody has read are read from the new primary, once."""
    pair.primary.sql(f"ALTER SYSTEM SET synchronized_standby_slots = 'standby_{pair.standby.port}'")
    pair.primary.sql("SELECT pg_reload_conf()")
    with pair.bridge as bridge:
        bridge.wait_loaded()
        pair.wait_durable()
        bridge.wait_level()
        assert not {one.component for one in bridge.board.ailments()} & {"slot.no_failover:erp", "slot.missing:erp"}
    pair.insert(500)
    pair.wait_replayed()
    pair.fail_over()
    with pair.bridge as bridge:
        bridge.wait_level()
        assert len(bridge.replayed("item")) == pair._rows
        assert not bridge.doubled("item")
        assert not bridge.gaps("item")


@pytest.mark.parametrize("pair", [True], indirect=True, ids=["failover slot"])
def test_the_running_bridge_follows_to_the_new_primary(pair: Pair) -> None:
    pair.primary.sql(f"ALTER SYSTEM SET synchronized_standby_slots = 'standby_{pair.standby.port}'")
    pair.primary.sql("SELECT pg_reload_conf()")
    with pair.bridge as bridge:
        bridge.wait_loaded()
        pair.wait_durable()
        pair.insert(100)
        pair.wait_replayed()
        pair.fail_over()
        pair.insert(100)
        bridge.wait_level()
        assert not bridge.doubled("item")
        assert not bridge.gaps("item")


@pytest.mark.parametrize("pair", [False], indirect=True, ids=["plain slot"])
def test_a_slot_that_would_not_survive_is_red_before_the_crash(pair: Pair) -> None:
    """F10; and after the crash the loss is declared and healed."""
    with pair.bridge as bridge:
        bridge.wait_loaded()
        ailment = bridge.wait_ailment("slot.no_failover:erp")
        assert (ailment.level, ailment.blocks) == ("fail", ("item",))
        assert "failover: true" in ailment.action
        pair.insert(100)
        pair.wait_replayed()
        pair.fail_over()
        pair.insert(100)
        bridge.wait_gap("item")
        bridge.wait_loaded()
        bridge.wait_level()


@pytest.mark.parametrize("pair", [True], indirect=True, ids=["failover slot"])
def test_what_only_the_old_primary_had_is_taken_back(pair: Pair) -> None:
    """We were sent rows that the standby never got: warned of beforehand, then a gap, and deletes for those rows."""
    with pair.bridge as bridge:
        bridge.wait_loaded()
        assert bridge.wait_ailment("slot.ahead_of_standby:erp").level == "warn"
        pair.wait_durable()
        bridge.wait_level()
        pair.wait_replayed()
        pair.standby.stop()
        pair.insert(100)
        bridge.wait_level()
        pair.primary.stop("immediate")
        pair.standby.start_again()
        pair.fail_over()
        gap = bridge.wait_gap("item")
        assert "does not hold" in gap["cause"]
        bridge.wait_loaded()
        bridge.wait_level()
        assert len(bridge.replayed("item")) == pair._rows - 100
