"""Each PostgreSQL type has one exact Arrow type, without asking a server."""

import re
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from bridge.postgres.oids import LISTABLE, UNLISTED
from bridge.postgres.types import PINNED_SETTINGS, Kind, PgType, builtin, described

DOCS = Path(__file__).parents[2] / "docs" / "postgres-types.md"


def numeric(precision: int, scale: int) -> PgType:
    found = builtin(1700, (precision << 16 | scale & 0x7FF) + 4)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("precision", "scale", "arrow"),
    [
        (12, 2, pa.decimal128(12, 2)),
        (38, 38, pa.decimal128(38, 38)),
        (3, -2, pa.decimal128(5, 0)),
        (3, 5, pa.decimal128(5, 5)),
        (39, 2, pa.large_string()),
        (30, -20, pa.large_string()),
        (1, 1000, pa.large_string()),
    ],
)
def test_a_numeric_is_decimal_while_38_digits_hold_it(precision: int, scale: int, arrow: pa.DataType) -> None:
    assert numeric(precision, scale).arrow == arrow
    assert numeric(precision, scale).name == f"numeric({precision},{scale})"


def test_an_oid_that_is_no_built_in_type_is_unknown() -> None:
    assert builtin(16_384, -1) is None
    assert builtin(0, -1) is None


def test_an_array_passes_its_modifier_to_its_elements() -> None:
    amounts = builtin(1231, (12 << 16 | 2) + 4)
    assert amounts is not None
    assert amounts.name == "numeric(12,2)[]"
    assert amounts.arrow == pa.list_(pa.decimal128(12, 2))


def test_a_domain_over_a_domain_is_the_innermost_type_under_its_own_name() -> None:
    cents = (12 << 16 | 2) + 4
    rows = [
        (20_002, -1, "sales.net", "d", False, 20_001, -1, ","),
        (20_001, -1, "sales.price", "d", False, 1700, cents, ","),
        (1700, cents, "numeric(12,2)", "b", False, 0, cents, ","),
    ]
    assert described(rows)[20_002, -1] == PgType("sales.net", pa.decimal128(12, 2), Kind.DECIMAL)


def test_an_array_of_what_has_no_simple_value_is_exact_text() -> None:
    rows = [
        (20_011, -1, "pair[]", "b", True, 20_010, -1, ","),
        (20_010, -1, "pair", "c", False, 0, -1, ","),
        (20_021, -1, "mood[]", "b", True, 20_020, -1, ","),
        (20_020, -1, "mood", "e", False, 0, -1, ","),
        (20_031, -1, "shape[]", "b", True, 20_030, -1, ":"),
        (20_030, -1, "shape", "b", False, 0, -1, ":"),
    ]
    types = described(rows)
    assert types[20_011, -1].arrow == pa.large_string()
    assert types[20_021, -1].arrow == pa.list_(pa.large_string())
    assert types[20_031, -1].arrow == pa.large_string()


def test_polars_takes_every_arrow_type() -> None:
    types = [numeric(38, 38), numeric(3, 5), *filter(None, (builtin(oid, -1) for oid, _, _ in LISTABLE))]
    table = pa.table({str(i): pa.nulls(1, type_.arrow) for i, type_ in enumerate(types)})
    assert len(pl.DataFrame(table).columns) == len(types)


def test_the_manual_lists_every_built_in_type_with_its_arrow_type() -> None:
    rows = re.findall(r"^\| (`.+`) \| `(.+?)` \|", DOCS.read_text().partition("## Arrays")[0], re.MULTILINE)
    listed = {name: arrow for names, arrow in rows for name in re.findall(r"`(.+?)`", names)}
    samples = [numeric(12, 2), numeric(3, -2), numeric(3, 5), numeric(39, 2)]
    types = [*samples, *filter(None, (builtin(oid, -1) for oid, _, _ in LISTABLE + UNLISTED))]
    assert listed == {type_.name: str(type_.arrow) for type_ in types}


def test_the_manual_lists_every_pinned_setting() -> None:
    section = DOCS.read_text().partition("## Session settings")[2]
    assert dict(re.findall(r"^\| `(.+?)` \| `(.+?)` \|", section, re.MULTILINE)) == PINNED_SETTINGS
