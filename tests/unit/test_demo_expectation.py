"""The reckoning's own reading of a contract, and of what the bridge's commands print."""

from pathlib import Path
from typing import Any

import pytest

from demo import expectation
from demo.comparison import Event, Letter
from demo.expectation import Expectation
from demo.oracle import TABLES, Change, OracleWriter, read
from demo.reckoning import event_of, letter_of

CONTRACT = """
schema:
- properties:
  - {name: order_no, logicalType: string, transformLogic: "trim(ord_no)"}
  - {name: amount, logicalType: number, transformLogic: "implied_decimal(amt, 2)"}
  - {name: status, logicalType: string, transformLogic: "code(sts, 'O', 'open', 'S', 'shipped')"}
  - {name: ordered_on, logicalType: date, transformLogic: cyymmdd(ord_dt)}
  - {name: changed_at, logicalType: timestamp, transformLogic: "local_time(upd_ts, 'America/Chicago')"}
  - {name: customer, logicalType: string, transformLogic: "repair_charset(cust_no, 'latin1')"}
  - {name: note, logicalType: string}
"""
ROW = {
    "ord_no": "SO1       ",
    "amt": "1250",
    "sts": "S",
    "ord_dt": "1261123",
    "upd_ts": "2026-11-23T06:42:53.7492",
    "cust_no": "MÃ¼ller",
    "note": None,
}
FACTS = {
    "order_no": "SO1",
    "amount": "12.5",
    "status": "shipped",
    "ordered_on": "2026-11-23",
    "changed_at": "2026-11-23T12:42:53.749200+00:00",
    "customer": "Müller",
}


@pytest.fixture
def expected(tmp_path: Path) -> Expectation:
    (tmp_path / "contract.yaml").write_text(CONTRACT)
    return expectation.load(tmp_path / "contract.yaml", TABLES["sales.oeordh"])


def test_a_legacy_row_and_its_event_come_to_the_same_facts(expected: Expectation) -> None:
    shown = {
        "order_no": "SO1",
        "amount": "12.50",
        "status": "shipped",
        "ordered_on": "2026-11-23",
        "changed_at": "2026-11-23T12:42:53.749200Z",
        "customer": "Müller",
        "note": None,
    }
    assert expected.facts(ROW) == FACTS
    assert expected.shown(shown) == FACTS


def test_a_long_text_is_compared_by_its_digest(expected: Expectation) -> None:
    digest = "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    facts = expected.facts({**ROW, "note": digest})
    assert facts is not None
    assert expected.shown({"note": "content"})["note"] == facts["note"]


@pytest.mark.parametrize("broken", [{"ord_dt": "1261399"}, {"ord_dt": "1260230"}, {"sts": "Q"}])
def test_a_row_that_the_contract_cannot_express_has_no_facts(expected: Expectation, broken: dict[str, Any]) -> None:
    assert expected.facts({**ROW, **broken}) is None


def test_an_expression_that_is_not_understood_is_an_error_not_a_gap(tmp_path: Path) -> None:
    (tmp_path / "contract.yaml").write_text(CONTRACT.replace("trim(ord_no)", "md5(ord_no)"))
    loaded = expectation.load(tmp_path / "contract.yaml", TABLES["sales.oeordh"])
    with pytest.raises(NotImplementedError, match="MD5"):
        loaded.facts(ROW)


def test_a_cloudevent_becomes_an_event(expected: Expectation) -> None:
    shown = {
        "id": "orders:1:AB:3",
        "type": "com.acme.erp.orders.updated.v1",
        "subject": "SO1",
        "unchanged": "note",
        "data": {"order_no": "SO1", "amount": "3.10"},
    }
    facts = {"order_no": "SO1", "amount": "3.1"}
    assert event_of(shown, expected) == Event("orders:1:AB:3", "update", "SO1", facts, frozenset({"note"}))
    gap = {"id": "orders:1:AB:3", "type": "com.acme.erp.orders.gap.v1", "data": {"from": "1"}}
    assert event_of(gap, expected) == Event("orders:1:AB:3", "gap", "", {})


def test_letters_of_read_rows_and_of_changes_are_told_apart() -> None:
    assert letter_of({"event_id": "orders:s1:SO1", "key": "SO1"}) == Letter("orders:s1:SO1", "SO1", is_read=True)
    assert letter_of({"event_id": "orders:1:AB:0", "key": None}) == Letter("orders:1:AB:0", None)


def test_a_torn_last_line_of_an_oracle_file_counts_as_not_written(tmp_path: Path) -> None:
    with OracleWriter(tmp_path / "oracle", {}) as writer:
        writer.committed("7", [Change("sales.arcust", "delete", "C1", None)])
        writer.committed("8", [Change("sales.arcust", "delete", "C2", None)])
    whole = (tmp_path / "oracle").read_bytes()
    assert read(tmp_path / "oracle").complete
    (tmp_path / "oracle").write_bytes(whole[: whole.rindex(b"C2")])
    torn = read(tmp_path / "oracle")
    assert [transaction.tx for transaction in torn.transactions] == ["7"]
    assert not torn.complete


def test_an_oracle_file_whose_writer_failed_is_not_complete(tmp_path: Path) -> None:
    writer = OracleWriter(tmp_path / "oracle", {})
    writer.__exit__(OSError)
    assert not read(tmp_path / "oracle").complete
