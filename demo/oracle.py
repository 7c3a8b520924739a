"""The oracle file: what was committed at the source, written by the one who committed it.

JSON Lines. The first line holds the rows that were there before, then one line per transaction, written after its
COMMIT returned (so no line is ever false) and fsynced at most `FSYNC_EVERY_S` later. The last line says that the
writer ended by itself; without it the tail may lack transactions. Lines are in commit order.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

FSYNC_EVERY_S = 0.05

Row = Mapping[str, Any]  # column -> text of its value as in PostgreSQL's JSON; booleans and nulls as such
ChangeOp = Literal["create", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Table:
    """A captured table."""

    name: str  # "sales.oeordh"
    key: tuple[str, ...]  # key columns; empty for a keyless table
    long: str | None = None  # the free-text column; its values are kept as digests

    @property
    def row_sql(self) -> str:
        """A SQL expression for a whole row of this table under the alias `r`, as JSON."""
        if self.long is None:
            return "to_jsonb(r)"
        digest = f"'sha256:' || encode(sha256(convert_to(r.{self.long}, 'UTF8')), 'hex')"
        return f"to_jsonb(r) || jsonb_build_object('{self.long}', {digest})"

    def key_of(self, row: Row) -> str:
        """The key as text: padding trimmed, columns joined by a comma; empty for a keyless table."""
        return ",".join(str(row[column]).strip() for column in self.key)


TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            Table("sales.arcust", ("cust_no",), "notes"),
            Table("sales.oeordh", ("ord_no",), "note"),
            Table("sales.oeordd", ("ord_no", "line_no")),
            Table("sales.icitem", ("item_no",)),
            Table("sales.aptrx", ()),
            Table("sales.gltrx", ("trx_id",)),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Change:
    """One row that a transaction changed. A key change is two: a delete and a create."""

    table: str
    op: ChangeOp
    key: str
    row: Row | None  # the whole new row; None on a delete
    moved: bool = False  # half of a key change


@dataclass(frozen=True, slots=True)
class Transaction:
    """One committed transaction that changed captured tables."""

    tx: str  # PostgreSQL's full transaction id
    at: str  # when its COMMIT had returned, RFC 3339
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Oracle:
    """A whole oracle file."""

    initial: Mapping[str, tuple[Row, ...]]  # table -> its rows before the first transaction
    transactions: tuple[Transaction, ...]
    complete: bool  # False: the writer was killed, and the last transactions may be missing

    def changes(self) -> Iterator[Change]:
        """Every change in commit order."""
        for transaction in self.transactions:
            yield from transaction.changes


def parse_row(text: str | bytes) -> Any:  # noqa: ANN401  psycopg's JSON loader is typed so
    """JSON with every number left as its text, so that no decimal passes through a float."""
    return json.loads(text, parse_float=str, parse_int=str)


class OracleWriter:
    """Writes a new oracle file; close it to mark the file complete.

    Args:
        path: the file, which must not exist: appending to a torn one would hide that its tail is missing.
        initial: table -> the rows that are there before the first transaction.
    """

    def __init__(self, path: Path, initial: Mapping[str, Iterable[Row]]) -> None:
        self._file = path.open("x", encoding="utf-8")
        self._write({"initial": {table: list(rows) for table, rows in initial.items()}})
        self.sync()

    def committed(self, tx: str, changes: Iterable[Change]) -> None:
        """Note a transaction whose COMMIT has returned."""
        self._write(asdict(Transaction(tx, datetime.now(UTC).isoformat(), tuple(changes))))
        self.rest(0.0)

    def rest(self, idle_s: float) -> None:
        """Sync if the last time is too long ago, or would be after `idle_s` of nothing to do."""
        if time.monotonic() + idle_s - self._synced_at >= FSYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Make everything written durable."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Mark the file complete."""
        self._write({"complete": True})
        self.sync()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:  # not complete: whoever reads it must know
            self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def read(path: Path) -> Oracle:
    """Read an oracle file; a torn last line counts as not written."""
    initial: dict[str, tuple[Row, ...]] = {}
    transactions: list[Transaction] = []
    complete = False
    with path.open(encoding="utf-8") as lines:
        for text in lines:
            if not text.endswith("\n"):
                break
            line = json.loads(text)
            complete = "complete" in line
            if "initial" in line:
                initial = {table: tuple(rows) for table, rows in line["initial"].items()}
            elif not complete:
                changes = tuple(Change(**change) for change in line["changes"])
                transactions.append(Transaction(line["tx"], line["at"], changes))
    return Oracle(initial, tuple(transactions), complete)
