"""A first contract from columns: valid YAML, complete but for what only people know."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import yamlfile
from bridge.contract.document import ContractDocument, check
from bridge.contract.draft import draft
from bridge.errors import ConfigError
from bridge.model import Column

TYPES = (
    pa.large_string(),
    pa.int64(),
    pa.int16(),
    pa.decimal128(12, 2),
    pa.decimal128(38, 0),
    pa.float64(),
    pa.bool_(),
    pa.date32(),
    pa.timestamp("us"),
    pa.timestamp("us", "UTC"),
    pa.time64("us"),
    pa.uint64(),
)
UNREADABLE = (pa.large_binary(), pa.list_(pa.int64()))


def parsed(text: str) -> yamlfile.Document:
    return yamlfile.parse(text, file="draft.yaml")


def filled(text: str) -> ContractDocument:
    """The draft as somebody has filled it in who knows everything and cares for nothing."""
    for empty, written in (("description:  #", "description: x  #"), ("purpose:", "purpose: x"), (": }", ": 1}")):
        text = text.replace(empty, written)
    return check(parsed(text.replace("value: ,", "value: 1,")))


@given(
    columns=st.lists(
        st.builds(
            Column,
            name=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20),
            type=st.sampled_from(["numeric(12,2)", "character(8)", "bytea"]),
            arrow=st.sampled_from(TYPES + UNREADABLE),
        ),
        min_size=1,
        unique_by=lambda column: column.name,
    ),
    keys=st.integers(0, 2),
)
def test_a_draft_that_is_filled_in_is_a_contract_of_the_same_columns(columns: list[Column], keys: int) -> None:
    readable = [column for column in columns if column.arrow not in UNREADABLE]
    if not readable:
        return
    key = [column.name for column in readable[:keys]]
    found = filled(draft("things", columns, key, system="erp", what="sales.things"))
    assert [str(field.expression.this.name) for field in found.fields] == [column.name for column in readable]
    assert list(found.key_fields) == [field.name for field in found.fields[:keys]][: len(key)]


@pytest.mark.parametrize("arrow", TYPES, ids=str)
def test_each_type_becomes_the_field_that_takes_it(arrow: pa.DataType) -> None:
    (field,) = filled(draft("things", [Column("c", "t", arrow)], [], system="erp", what="it")).fields
    wide = pa.decimal128(38, arrow.scale) if pa.types.is_decimal(arrow) else arrow
    assert field.type.arrow == (pa.int64() if pa.types.is_integer(arrow) else wide)


def test_what_only_people_know_is_asked_for_line_by_line() -> None:
    columns = [Column("id", "bigint", pa.int64()), Column("no", "numeric(9,2)", pa.decimal128(9, 2))]
    text = draft("things", columns, ["id"], system="erp", what="sales.things")
    with pytest.raises(ConfigError) as refused:
        check(parsed(text))
    mistakes = refused.value.detail.splitlines()
    assert [mistake.partition(": ")[2] for mistake in mistakes] == [
        "meaning: field `id` has no description",
        "meaning: field `no` has no description",
        "meaning: the number `no` has no unit; write customProperty bridge.unit, or none",
        "meaning: `description.purpose` is missing",
        "quality: no level is stated; write slaProperties with errorRate or latency",
        "quality: errorRate is a percentage from 0 to 100",
    ]
    lines = text.splitlines()
    assert all("draft.yaml:" in mistake for mistake in mistakes)
    assert "description:" in lines[int(mistakes[0].split(":")[1]) - 1]


def test_a_column_of_which_no_field_can_be_made_is_named() -> None:
    text = draft(
        "t", [Column("a", "text", pa.string()), Column("b", "bytea", pa.binary())], ["a"], system="e", what="w"
    )
    assert "# b: no field can be of the type bytea" in text
