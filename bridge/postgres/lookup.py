"""The types behind the columns of a table or an answer: built-in ones are known, the others are asked for once."""

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from bridge.model import Column, Shape
from bridge.postgres.session import Connection, translated
from bridge.postgres.types import LOOKUP_SQL, Kind, PgType, builtin, described

Lookup = Callable[[list[tuple[int, int]]], Mapping[tuple[int, int], PgType]]


class TypeLookup:
    """User-defined types as one session describes them; for one thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._types: dict[tuple[int, int], PgType] = {}

    def __call__(self, wanted: list[tuple[int, int]]) -> Mapping[tuple[int, int], PgType]:
        """User-defined types by (oid, modifier)."""
        missing = [pair for pair in wanted if pair not in self._types]
        if missing:
            oids, modifiers = zip(*missing, strict=True)
            with translated("looking up types"):
                rows = self._connection.execute(
                    LOOKUP_SQL, {"oids": list(oids), "modifiers": list(modifiers)}
                ).fetchall()
            self._types.update(described(rows))
        return self._types


def types_of(wanted: Sequence[tuple[int, int]], lookup: Lookup) -> tuple[PgType, ...]:
    """The type of each (oid, modifier); one that was dropped since is exact text under its number."""
    types = {pair: known for pair in wanted if (known := builtin(*pair)) is not None}
    missing = sorted(set(wanted) - types.keys())
    if missing:
        types.update(lookup(missing))
    return tuple(types.get(pair) or PgType(f"dropped type {pair[0]}", pa.large_string(), Kind.TEXT) for pair in wanted)


def shape_of(table: str, names: Sequence[str], types: Sequence[PgType]) -> Shape:
    """The shape of a table with these columns."""
    return Shape(table, tuple(Column(name, of.name, of.arrow) for name, of in zip(names, types, strict=True)))
