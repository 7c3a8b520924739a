"""Which tables a source reads, as configured and as the catalogue describes them."""

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.errors import SourceRefused
from bridge.sources.postgres.session import Connection, translated
from bridge.sources.postgres.snapshot import Table, describe
from bridge.sources.postgres.types import LOOKUP_SQL, PgType, described


@dataclass(frozen=True, slots=True)
class Capture:
    """One table to read, as configured."""

    stream: str
    table: str  # schema.table
    key_columns: tuple[str, ...] = ()  # legacy columns the contract's key reads; empty: the primary key
    is_keyless: bool = False  # in the insert-only publication
    reads_initially: bool = True  # snapshot: initial
    reselects: bool = False  # fill_unchanged: reselect


class Tables:
    """The captured tables with what the catalogue says of them, asked once and again after a change of shape."""

    def __init__(self, connection: Connection, captures: tuple[Capture, ...]) -> None:
        self.captures = captures
        self.connection = connection
        self._by_table = {capture.table: capture for capture in captures}
        self._by_stream = {capture.stream: capture for capture in captures}
        self._types: dict[tuple[int, int], PgType] = {}
        self._described: dict[str, Table] = {}

    def capture_of(self, table: str) -> Capture | None:
        """The capture of `schema.table`; None when it is not ours."""
        return self._by_table.get(table)

    def capture_for(self, stream: str) -> Capture | None:
        """The capture of a stream; None when it is not ours."""
        return self._by_stream.get(stream)

    def describe(self, capture: Capture) -> Table:
        """The table's columns, types and key.

        Raises: SourceRefused when the login may not see it or it has no key.
        """
        if capture.stream not in self._described:
            self._described[capture.stream] = describe(
                self.connection, capture.stream, capture.table, key_columns=capture.key_columns, lookup=self.lookup
            )
        return self._described[capture.stream]

    def forget(self, capture: Capture) -> None:
        """The table's shape changed: ask again."""
        self._described.pop(capture.stream, None)

    def key_of(self, capture: Capture) -> tuple[str, ...]:
        """The columns a row is known by; empty for a keyless table."""
        if capture.key_columns or capture.is_keyless:
            return capture.key_columns
        try:
            table = self.describe(capture)
        except SourceRefused:  # dropped or renamed since: its last changes are still to be read
            return ()
        return tuple(table.shape.columns[number].name for number in table.key)

    def lookup(self, wanted: list[tuple[int, int]]) -> Mapping[tuple[int, int], PgType]:
        """User-defined types by (oid, modifier)."""
        missing = [pair for pair in wanted if pair not in self._types]
        if missing:
            oids, modifiers = zip(*missing, strict=True)
            with translated("looking up types"):
                rows = self.connection.execute(
                    LOOKUP_SQL, {"oids": list(oids), "modifiers": list(modifiers)}
                ).fetchall()
            self._types.update(described(rows))
        return self._types
