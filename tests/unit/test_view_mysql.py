"""The parts of reading MySQL that need no server: grants, packets, literals."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from io import BufferedReader, BytesIO
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql import err
from pymysql.constants import FIELD_TYPE, FLAG

from bridge.errors import SourceRefused, SourceUnavailable
from bridge.findings import Level
from bridge.sources.view.dialects.mysql import rights
from bridge.sources.view.dialects.mysql.literals import literal
from bridge.sources.view.dialects.mysql.session import translate
from bridge.sources.view.dialects.mysql.types import decode, type_of
from bridge.sources.view.dialects.mysql.wire import Field, Rows, ask
from bridge.sources.view.statement import Value

UTF8 = 45
CHARSETS = {UTF8: "utf8mb4", 8: "latin1"}
READS = (
    "GRANT USAGE ON *.* TO `bridge`@`%` IDENTIFIED BY PASSWORD '*0123'",
    "GRANT SELECT, SHOW VIEW ON `shop`.* TO `bridge`@`%`",
    "GRANT SELECT (`id`, `a, b`) ON `shop`.`orders` TO `bridge`@`%`",
    "GRANT PROCESS, REPLICATION CLIENT ON *.* TO `bridge`@`%`",
    "GRANT `reader`@`%` TO `bridge`@`%`",
    "GRANT `reader` TO `bridge`@`%`",
    "SET DEFAULT ROLE `reader` FOR `bridge`@`%`",
)
WRITES = (
    "GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION",
    "GRANT ALL PRIVILEGES ON `shop`.* TO `bridge`@`%`",
    "GRANT SELECT, INSERT ON `shop`.* TO `bridge`@`%`",
    "GRANT SELECT, UPDATE (`note`) ON `shop`.`orders` TO `bridge`@`%`",
    "GRANT FILE ON *.* TO `bridge`@`%`",
    "GRANT SUPER ON *.* TO `bridge`@`%`",
    "GRANT EXECUTE ON PROCEDURE `shop`.`pay` TO `bridge`@`%`",
    "GRANT EXECUTE ON `shop`.* TO `bridge`@`%`",
    "GRANT LOCK TABLES ON `shop`.* TO `bridge`@`%`",
    "GRANT CREATE TEMPORARY TABLES ON `shop`.* TO `bridge`@`%`",
    "GRANT SELECT ON `shop`.* TO `bridge`@`%` WITH GRANT OPTION",
    "GRANT `reader` TO `bridge`@`%` WITH ADMIN OPTION",
    "GRANT PROXY ON ''@'%' TO 'bridge'@'%'",
    "GRANT SET USER ON *.* TO `bridge`@`%`",
    "GRANT READ_ONLY ADMIN ON *.* TO `bridge`@`%`",
    "GRANT FLUSH_TABLES,BACKUP_ADMIN ON *.* TO `bridge`@`%`",
    "something the next release says",
)


@pytest.mark.parametrize("line", READS)
def test_a_grant_to_read_passes(line: str) -> None:
    assert list(rights.judge(line, "bridge")) == []


@pytest.mark.parametrize("line", WRITES)
def test_a_grant_of_more_than_reading_is_refused(line: str) -> None:
    assert next(iter(rights.judge(line, "bridge"))).level is Level.REFUSE


def test_roles_of_roles_are_looked_into() -> None:
    grants: dict[str | None, Sequence[str]] = {
        None: ["GRANT `a`@`%` TO `bridge`@`%`"],
        "`a`@`%`": ["GRANT `b` TO `a`@`%`", "GRANT USAGE ON *.* TO `a`@`%`"],
        "`b`": ["GRANT DELETE ON `shop`.`orders` TO `b`", "GRANT `a`@`%` TO `b`"],
    }
    found = rights.inspect(lambda role: grants[role], "bridge", frozenset())
    assert [(one.level, one.subject) for one in found] == [(Level.REFUSE, "`b`")]
    waived = rights.inspect(lambda role: grants[role], "bridge", frozenset({"can_write"}))
    assert [one.level for one in waived] == [Level.WARN]


def packet(payload: bytes, number: int = 1) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([number % 256]) + payload


def cell(value: bytes | None) -> bytes:
    if value is None:
        return b"\xfb"
    size = len(value)
    if size < 251:
        return bytes([size]) + value
    if size < 1 << 16:
        return b"\xfc" + size.to_bytes(2, "little") + value
    if size < 1 << 24:
        return b"\xfd" + size.to_bytes(3, "little") + value
    return b"\xfe" + size.to_bytes(8, "little") + value


class Scripted:
    """A connection that answers with these rows."""

    def __init__(self, answer: bytes, columns: int) -> None:
        self._rfile = BufferedReader(BytesIO(answer))
        self._heads = [
            SimpleNamespace(
                is_ok_packet=lambda: False,
                is_load_local_packet=lambda: False,
                read_length_encoded_integer=lambda: columns,
            ),
            *(
                SimpleNamespace(
                    name=f"c{n}", type_code=FIELD_TYPE.VAR_STRING, flags=0, length=9, scale=0, charsetnr=UTF8
                )
                for n in range(columns)
            ),
            None,
        ]
        self._next_seq_id = 7

    def _execute_command(self, *_: object) -> None:
        """Takes anything."""

    def _read_packet(self, *_: object) -> object:
        return self._heads.pop(0)


def answered(rows: list[list[bytes | None]]) -> Rows:
    sent = b""
    for row in rows:
        payload = b"".join(map(cell, row))
        while len(payload) >= 0xFFFFFF:
            sent += packet(payload[:0xFFFFFF])
            payload = payload[0xFFFFFF:]
        sent += packet(payload)
    connection: Any = Scripted(sent + packet(b"\xfe\0\0\2\0"), len(rows[0]))
    return ask(connection, "SELECT", most_bytes=1 << 30)


def texts(rows: Rows) -> list[list[bytes | None]]:
    columns = [
        [
            bytes(rows.buffer[start : start + length]) if is_value else None
            for start, length, is_value in zip(cells.starts, cells.lengths, cells.is_value, strict=True)
        ]
        for cells in rows.cells()
    ]
    return [list(row) for row in zip(*columns, strict=True)]


@given(st.lists(st.lists(st.none() | st.binary(max_size=600), min_size=3, max_size=3), min_size=1, max_size=30))
def test_rows_are_cut_into_cells_whatever_they_hold(rows: list[list[bytes | None]]) -> None:
    assert texts(answered(rows)) == rows


@pytest.mark.parametrize("size", [250, 251, 65_535, 65_536, 0xFFFFFF - 10, 0xFFFFFF - 4, 0xFFFFFF, 2 * 0xFFFFFF])
def test_a_row_may_be_longer_than_a_packet(size: int) -> None:
    rows = [[b"a", b"b" * size, None], [b"", None, b"c"]]
    assert texts(answered(rows)) == rows


def test_the_servers_complaint_among_the_rows_is_raised() -> None:
    broken = packet(cell(b"1")) + packet(b"\xff" + (1969).to_bytes(2, "little") + b"#70100too long")
    connection: Any = Scripted(broken, 1)
    with pytest.raises(err.MySQLError) as caught:
        ask(connection, "SELECT", most_bytes=1 << 20)
    assert isinstance(translate(caught.value, "reading"), SourceUnavailable)


def test_an_end_without_an_end_is_a_lost_connection() -> None:
    connection: Any = Scripted(packet(cell(b"1")), 1)
    with pytest.raises(ConnectionResetError):
        ask(connection, "SELECT", most_bytes=1 << 20)


def column(kind: int, values: list[bytes | None], **rest: int) -> tuple[list[Any], list[bytes | None]]:
    given_ = {"flags": 0, "length": 20, "decimals": 0, "charset": UTF8, **rest}
    rows = answered([[value] for value in values])
    type_ = type_of(Field("c", kind, **given_), CHARSETS)
    batch, marks, _ = decode(rows, (type_,))
    raw = list(marks["c"].raw) if "c" in marks else []
    return batch.column(0).to_pylist(), raw


def test_a_zero_date_is_marked_with_what_came() -> None:
    values = [b"2026-01-31", b"0000-00-00", b"2026-02-00", b"2026-00-01", None, b"9999-12-31"]
    found, raw = column(FIELD_TYPE.DATE, values)
    assert [str(value) for value in found] == ["2026-01-31", "None", "None", "None", "None", "9999-12-31"]
    assert raw == [b"0000-00-00", b"2026-02-00", b"2026-00-01"]


def test_a_timestamp_is_an_instant_and_a_datetime_is_not() -> None:
    text = b"2026-03-29 02:30:00.000001"
    assert column(FIELD_TYPE.TIMESTAMP, [text])[0] == [datetime(2026, 3, 29, 2, 30, 0, 1, tzinfo=UTC)]
    assert column(FIELD_TYPE.DATETIME, [text])[0][0].tzinfo is None


def test_a_time_beyond_a_day_is_marked() -> None:
    found, raw = column(FIELD_TYPE.TIME, [b"23:59:59.5", b"838:59:59", b"-01:00:00", b"24:00:00", b"00:00:00"])
    assert [str(value) for value in found] == ["23:59:59.500000", "None", "None", "None", "00:00:00"]
    assert raw == [b"838:59:59", b"-01:00:00", b"24:00:00"]


def test_numbers_stay_exact() -> None:
    assert column(FIELD_TYPE.LONGLONG, [b"18446744073709551615"], flags=FLAG.UNSIGNED)[0] == [18446744073709551615]
    digits = b"-" + b"9" * 35 + b"." + b"9" * 30
    found, _ = column(FIELD_TYPE.NEWDECIMAL, [digits], length=67, decimals=30)
    assert found == [Decimal(digits.decode())]
    assert column(FIELD_TYPE.DOUBLE, [b"1250.5", b"1e-7", b"-0"])[0] == [1250.5, 1e-7, 0.0]
    assert column(FIELD_TYPE.BIT, [b"\xff" * 8, b"\0\1", None], flags=FLAG.UNSIGNED)[0] == [2**64 - 1, 1, None]
    assert column(FIELD_TYPE.YEAR, [b"1901", b"0000"])[0] == [1901, 0]


def test_text_is_read_in_its_own_character_set() -> None:
    found, raw = column(FIELD_TYPE.VAR_STRING, ["Öl & Söhne €".encode("cp1252"), b"plain", b"\x81"], charset=8)
    assert found == ["Öl & Söhne €", "plain", None]
    assert raw == [b"\x81"]
    found, raw = column(FIELD_TYPE.VAR_STRING, ["Öl".encode(), b"\xd6l", b""])
    assert (found, raw) == (["Öl", None, ""], [b"\xd6l"])


def test_binary_columns_keep_their_bytes() -> None:
    found, _ = column(FIELD_TYPE.STRING, [b"\0\xffa\0\0", b""], charset=63)
    assert found == [b"\0\xffa\0\0", b""]


@given(st.text())
def test_no_text_ends_its_literal(text: str) -> None:
    written = literal(Value(text, type="text"), None)
    assert set(written) <= set("_utf8mb4 x'0123456789abcdef")
    assert written.count("'") == 2


@given(st.text(min_size=1))
def test_only_numbers_pass_as_numbers(text: str) -> None:
    type_ = type_of(Field("n", FIELD_TYPE.LONG, 0, 11, 0, 63), CHARSETS)
    try:
        written = literal(Value(text, "n"), type_)
    except SourceRefused:
        return
    assert float(written) is not None


def test_values_of_arrow_become_literals() -> None:
    moment = type_of(Field("t", FIELD_TYPE.TIMESTAMP, 0, 26, 6, 63), CHARSETS)
    at = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert literal(Value(pa.scalar(at, pa.timestamp("us", "UTC")), "t"), moment) == "'2026-01-02 03:04:05.000006'"
    amount = type_of(Field("d", FIELD_TYPE.NEWDECIMAL, 0, 14, 2, 63), CHARSETS)
    assert literal(Value(pa.scalar(Decimal("-0.10"), pa.decimal128(12, 2)), "d"), amount) == "-0.10"
