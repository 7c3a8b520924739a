"""The ERP's own database session: writes rows and remembers what the running transaction changed.

One session, so the order of its commits is the order of the oracle file. What a change left behind is what the
server itself returned (RETURNING), not what the program meant to write.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.types.json import set_json_loads

from demo.oracle import TABLES, Change, ChangeOp, OracleWriter, Row, Table, parse_row

# The ERP's wall clock, and floats in full so that the oracle is exact.
OPTIONS = "-c TimeZone=America/Chicago -c extra_float_digits=1 -c application_name=erp"
RECONNECT_S = 60.0


class ErpSession:
    """Runs business transactions and tells the oracle of those that committed."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection = self._connect()
        self._changes: list[Change] = []

    def _connect(self) -> psycopg.Connection:
        """A new connection; a server that is just restarting is waited for."""
        deadline = time.monotonic() + RECONNECT_S
        while True:
            try:
                connection = psycopg.connect(self._dsn, options=OPTIONS, autocommit=True)
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                set_json_loads(parse_row, connection)
                return connection

    def rows(self) -> dict[str, list[Row]]:
        """Every row of the captured tables, from one snapshot."""
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return {table.name: self.ask(_select(table)) for table in TABLES.values()}

    def ask(self, query: sql.Composed, values: Mapping[str, Any] | None = None) -> list[Any]:
        """The first column of a query."""
        return [row[0] for row in self._connection.execute(query, values)]

    @contextmanager
    def transaction(self, oracle: OracleWriter, *, undo: bool = False) -> Iterator[None]:
        """A transaction whose changes go to the oracle after its COMMIT returned.

        When the answer to COMMIT is lost, the server is asked for the transaction's fate after reconnecting.

        Args:
            oracle: where it is noted.
            undo: roll it back instead.
        Raises: psycopg.OperationalError when the connection broke and the transaction did not commit; by then the
            session is connected again.
        """
        self._changes = []
        tx = ""
        try:
            with self._connection.transaction(force_rollback=undo):
                yield
                tx = str(self.ask(_XACT)[0])
        except psycopg.OperationalError:
            self.close()
            self._connection = self._connect()
            if undo or not tx or not self._has_committed(tx):
                raise
        if self._changes and not undo:
            oracle.committed(tx, self._changes)

    def _has_committed(self, tx: str) -> bool:
        try:
            return bool(self.ask(_STATUS, {"tx": tx})[0] == "committed")
        except psycopg.errors.InvalidParameterValue:  # "in the future": lost in a failover
            return False

    @contextmanager
    def savepoint(self, *, undo: bool) -> Iterator[None]:
        """Part of a transaction; with `undo` it is rolled back and forgotten."""
        count = len(self._changes)
        with self._connection.transaction(force_rollback=undo):
            yield
        if undo:
            del self._changes[count:]

    def touch_session(self, token: str, user: str) -> None:
        """A click: the session's row is written. Never captured, so never in the oracle."""
        self._connection.execute(_CLICK, (token, user))

    def insert(self, name: str, row: Mapping[str, Any]) -> None:
        """Insert one row."""
        self._change("create", TABLES[name], _insert(TABLES[name], tuple(row)), row)

    def update(self, name: str, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Update a row by its key; when the key itself changes, that is a delete and a create."""
        table = TABLES[name]
        old = table.key_of(key) if any(column in values for column in key) else None
        arguments = {**{f"key_{column}": value for column, value in key.items()}, **values}
        self._change("update", table, _update(table, tuple(values), tuple(key)), arguments, old_key=old)

    def delete(self, name: str, key: Mapping[str, Any]) -> None:
        """Delete the rows with this key, or with its first columns."""
        arguments = {f"key_{column}": value for column, value in key.items()}
        self._change("delete", TABLES[name], _delete(TABLES[name], tuple(key)), arguments)

    def run(self, op: ChangeOp, name: str, statement: str, arguments: Mapping[str, Any]) -> None:
        """A set-wise statement over the table under the alias `r`; its RETURNING clause is added."""
        table = TABLES[name]
        self._change(op, table, sql.SQL(statement) + _returning(table), arguments)

    def _change(
        self,
        op: ChangeOp,
        table: Table,
        statement: sql.Composed,
        arguments: Mapping[str, Any],
        *,
        old_key: str | None = None,
    ) -> None:
        for row in self.ask(statement, arguments):
            key = table.key_of(row)
            if op == "delete":
                self._changes.append(Change(table.name, "delete", key, None))
            elif old_key is not None and old_key != key:
                self._changes.append(Change(table.name, "delete", old_key, None, moved=True))
                self._changes.append(Change(table.name, "create", key, row, moved=True))
            else:
                self._changes.append(Change(table.name, op, key, row))

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_XACT = sql.SQL("SELECT pg_current_xact_id()::text").format()
_STATUS = sql.SQL("SELECT pg_xact_status(%(tx)s::xid8)").format()
_CLICK = (
    "INSERT INTO sales.sessions AS s VALUES (%s, %s, '10.0.0.7', clock_timestamp()) "
    "ON CONFLICT (token) DO UPDATE SET at = excluded.at"
)


def _name(table: Table) -> sql.Composable:
    return sql.Identifier(*table.name.split("."))


def _returning(table: Table) -> sql.Composed:
    return sql.SQL(" RETURNING ") + sql.SQL(table.row_sql)


@cache
def _select(table: Table) -> sql.Composed:
    row = sql.SQL(table.row_sql)
    return sql.SQL("SELECT {} FROM {} AS r").format(row, _name(table))


@cache
def _insert(table: Table, columns: tuple[str, ...]) -> sql.Composed:
    statement = sql.SQL("INSERT INTO {} AS r ({}) VALUES ({})").format(
        _name(table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(map(sql.Placeholder, columns)),
    )
    return statement + _returning(table)


@cache
def _update(table: Table, columns: tuple[str, ...], key: tuple[str, ...]) -> sql.Composed:
    pairs = [sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder(column)) for column in columns]
    statement = sql.SQL("UPDATE {} AS r SET {} WHERE {}").format(_name(table), sql.SQL(", ").join(pairs), _matches(key))
    return statement + _returning(table)


@cache
def _delete(table: Table, key: tuple[str, ...]) -> sql.Composed:
    return sql.SQL("DELETE FROM {} AS r WHERE {}").format(_name(table), _matches(key)) + _returning(table)


def _matches(key: tuple[str, ...]) -> sql.Composed:
    pairs = [sql.SQL("r.{} = {}").format(sql.Identifier(column), sql.Placeholder(f"key_{column}")) for column in key]
    return sql.SQL(" AND ").join(pairs)
