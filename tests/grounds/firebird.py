"""Firebird, with columns of every type that it knows; see `tests.typed`."""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from hypothesis import strategies as st

from bridge.model import Mark
from bridge.sources.view.dialects.firebird.session import FirebirdSession
from bridge.sources.view.session import Session
from tests.legacy import FirebirdLegacy
from tests.typed import (
    FIRST,
    LAST,
    LETTERS,
    TIMES,
    Given,
    Ground,
    Marked,
    Typed,
    day_micros,
    days,
    decimals,
    forms,
    letters_of,
    micros,
    moments,
    mostly,
    names,
    same,
    texts,
    whole,
)


def _ticks(value: datetime) -> datetime:
    """Cut to what Firebird holds: tenths of a millisecond."""
    return value.replace(microsecond=value.microsecond // 100 * 100)


def _none(raw: bytes) -> Given:
    """Text of no declared character set, read by the one that our system declares."""
    try:
        return Given(raw, raw.decode("utf-8"))
    except UnicodeDecodeError:
        return Given(raw, Marked(Mark.UNREADABLE, raw))


_TICKS = TIMES.map(lambda value: value.replace(microsecond=value.microsecond // 100 * 100))
TYPES: Mapping[str, Typed] = {
    "wall": Typed("TIMESTAMP", forms(moments(FIRST, LAST).map(_ticks), lambda at: at.isoformat(" ")[:24], micros)),
    "day": Typed("DATE", forms(st.dates(), str, days)),
    "clock": Typed("TIME", forms(_TICKS, lambda time: str(time)[:13], day_micros)),
    "amount": Typed("NUMERIC(12,2)", same(decimals(12, 2))),
    "wide": Typed("NUMERIC(18,17)", same(decimals(18, 17))),
    "small": Typed("DECIMAL(4,1)", same(decimals(4, 1))),
    "double": Typed("DOUBLE PRECISION", same(st.floats(allow_nan=False, allow_infinity=False))),
    "single": Typed("FLOAT", same(st.floats(width=32, allow_nan=False, allow_infinity=False))),
    "big": Typed("BIGINT", same(whole(64))),
    "int": Typed("INTEGER", same(whole(32))),
    "flag": Typed("BOOLEAN", same(st.booleans())),
    "text": Typed("VARCHAR(40)", same(texts())),
    "western": Typed("VARCHAR(40) CHARACTER SET WIN1252", same(texts(letters_of("cp1252")))),
    "unsaid": Typed("VARCHAR(9) CHARACTER SET NONE", mostly(
        st.text(st.characters(max_codepoint=126, min_codepoint=32), max_size=9).map(lambda text: _none(text.encode())),
        st.binary(max_size=9).map(_none)), put="CAST(? AS VARCHAR(9) CHARACTER SET OCTETS)"),
    "padded": Typed("CHAR(8)", forms(texts(most=8), str, lambda text: text.ljust(8))),
    "bytes": Typed("VARCHAR(20) CHARACTER SET OCTETS", same(st.binary(max_size=20))),
    "filled": Typed("CHAR(4) CHARACTER SET OCTETS", forms(
        st.binary(max_size=4), bytes, lambda raw: raw.ljust(4, b"\0"))),
    "note": Typed("BLOB SUB_TYPE TEXT", same(texts())),
    "image": Typed("BLOB", same(st.binary(max_size=20))),
}  # fmt: skip


class FirebirdGround(Ground):
    """See `Ground`."""

    legacy: FirebirdLegacy
    types = TYPES
    dialect = ""
    names = names(LETTERS, most=31)

    def fill(self, table: str, columns: Mapping[str, Typed], rows: Sequence[Sequence[Given]]) -> None:
        """See `Ground`."""
        quote, database = self.legacy.quote, self.legacy.database
        declared = ", ".join(f"{quote(name)} {one.sql}" for name, one in columns.items())
        puts = ", ".join(["?", *(one.put or "?" for one in columns.values())])
        self.legacy.run(
            f'CREATE TABLE {quote(table)} ("id" INTEGER NOT NULL PRIMARY KEY, {declared})',
            f"GRANT SELECT ON {quote(table)} TO {database.name}",
        )
        with contextlib.closing(database.server.connect(database.path)) as connection:
            cursor = connection.cursor()
            statement = cursor.prepare(f"INSERT INTO {quote(table)} VALUES ({puts})")
            for number, row in enumerate(rows):
                cursor.execute(statement, (number, *(cell.bound for cell in row)))
            connection.commit()
            statement.free()

    def session(self) -> Session:
        """See `Ground`."""
        return FirebirdSession(self.legacy.settings())
