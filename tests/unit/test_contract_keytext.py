"""The text of a key: one for each value, the same for ever."""

import datetime as dt
from typing import Any

import polars as pl
import pytest

from bridge.contract import keytext
from bridge.contract.compiler import Steps, Typed
from bridge.contract.kinds import Kind, ValueType

NOON = dt.time(12)


@pytest.mark.parametrize(
    ("kind", "values", "texts"),
    [
        (Kind.TIME, [NOON, NOON.replace(microsecond=1), NOON.replace(microsecond=120_000), None],
         ["12:00:00", "12:00:00.000001", "12:00:00.120", None]),
        (Kind.DOUBLE, [0.0, -0.0, -1.5, None], ["0.0", "0.0", "-1.5", None]),
        (Kind.DATE, [dt.date(1, 1, 1)], ["0001-01-01"]),
        (Kind.BOOLEAN, [True, False], ["true", "false"]),
    ],
)  # fmt: skip
def test_values_that_differ_have_texts_that_differ(kind: Kind, values: list[Any], texts: list[str | None]) -> None:
    of = ValueType(kind)
    frame = pl.DataFrame({"k": pl.Series(values, dtype=of.polars)})
    assert frame.select(keytext.expression([Typed(pl.col("k"), of)], Steps())).to_series().to_list() == texts
