"""The health board keeps what is wrong, since when, and what to do."""

from datetime import UTC, datetime, timedelta

from bridge.health import HealthBoard

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def test_an_empty_board_passes() -> None:
    assert HealthBoard().report() == {"status": "pass", "checks": {}}


def test_a_lasting_failure_keeps_the_time_it_began_and_shows_its_latest_text() -> None:
    clock = Clock()
    board = HealthBoard(clock)
    board.fail("source:erp", "connection refused", "start the server", blocks=("orders",))
    clock.now += timedelta(minutes=5)
    board.fail("source:erp", "no route to host", "mend the network", blocks=("orders",))
    assert board.report()["checks"]["source:erp"] == {
        "status": "fail",
        "since": NOON.isoformat(),
        "what": "no route to host",
        "action": "mend the network",
        "blocks": ["orders"],
    }


def test_recovery_ends_the_ailment_and_a_new_failure_begins_anew() -> None:
    clock = Clock()
    board = HealthBoard(clock)
    board.fail("journal", "disk full", "free space")
    board.ok("journal")
    assert board.report() == {"status": "pass", "checks": {"journal": {"status": "pass"}}}
    clock.now += timedelta(minutes=5)
    board.fail("journal", "disk full", "free space")
    assert board.ailments()[0].since == clock.now


def test_the_status_is_the_worst_and_the_worst_and_oldest_come_first() -> None:
    clock = Clock()
    board = HealthBoard(clock)
    board.fail("slot:erp", "half full", "look at it", level="warn")
    assert board.report()["status"] == "warn"
    clock.now += timedelta(minutes=1)
    board.fail("b", "down", "start it")
    clock.now += timedelta(minutes=1)
    board.fail("a", "down", "start it")
    board.ok("journal")
    assert board.report()["status"] == "fail"
    assert [ailment.component for ailment in board.ailments()] == ["b", "a", "slot:erp"]


def test_a_forgotten_component_is_no_longer_listed() -> None:
    board = HealthBoard()
    board.fail("stream:orders", "paused", "resume it")
    board.forget("stream:orders")
    board.forget("never seen")
    assert board.report() == {"status": "pass", "checks": {}}


def test_a_credential_in_a_foreign_message_does_not_reach_the_page() -> None:
    """S2."""
    board = HealthBoard()
    board.fail("source:erp", "could not connect to postgres://b:canary@db/erp", "set password=canary")
    assert "canary" not in str(board.report())


def test_components_of_what_is_not_configured_any_more_are_forgotten() -> None:
    board = HealthBoard()
    for component in ("journal", "stream:orders", "stream:customers", "source:erp"):
        board.ok(component)
    board.keep({"erp", "orders"})
    assert set(board.report()["checks"]) == {"journal", "stream:orders", "source:erp"}
