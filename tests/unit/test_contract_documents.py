"""Contract documents: the four elements are enforced, and every mistake is named with its line."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge import yamlfile
from bridge.contract import document
from bridge.contract.document import ContractDocument
from bridge.errors import ConfigError

CONTRACTS = Path(__file__).parents[2] / "contracts"

GOOD = textwrap.dedent("""\
    apiVersion: v3.1.0
    kind: DataContract
    id: orders
    version: 1.2.0
    status: active
    description: {purpose: Orders.}
    slaProperties:
      - {property: errorRate, value: 0.1, unit: percent,
         customProperties: [{property: bridge.validity_window, value: 15m}]}
    schema:
      - name: orders
        properties:
          - name: id
            description: Number.
            logicalType: string
            primaryKey: true
            primaryKeyPosition: 1
            transformLogic: trim(ord_no)
          - name: amount
            description: Value.
            logicalType: number
            customProperties:
              - {property: bridge.type, value: "decimal(13,2)"}
              - {property: bridge.unit, value: USD}
          - name: status
            description: State.
            logicalType: string
            transformLogic: code(sts, 'A', 'active')
            transformDescription: A means active.
        quality:
          - name: positive
            description: No negative amounts.
            type: custom
            engine: bridge
            implementation: amount >= 0
    """)


def load(text: str) -> ContractDocument:
    return document.check(yamlfile.parse(text, file="c.yaml"))


def mistakes(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return caught.value.detail


def test_a_complete_contract_is_accepted_whole() -> None:
    found = load(GOOD)
    assert (found.id, found.version, found.key_fields) == ("orders", "1.2.0", ("id",))
    assert found.validity is not None
    assert (found.validity.error_percent, found.validity.window_s) == (0.1, 900)


@pytest.mark.parametrize(
    ("value", "unit", "seconds"),
    [
        ("30", "s", 30.0),
        ("5", "minutes", 300.0),
        ("0.5", "h", 1800.0),
        ("1", "D", 86400.0),
        ("1", "y", None),
        ("0", "s", None),
    ],
)
def test_latency_and_frequency_are_lengths_of_time(value: str, unit: str, seconds: float | None) -> None:
    for name in ("latency", "frequency"):
        level = f"slaProperties:\n  - {{property: {name}, value: {value}, unit: {unit}}}"
        found = load(GOOD.replace("slaProperties:", level))
        assert getattr(found, f"{name}_s") == seconds
    assert (load(GOOD).latency_s, load(GOOD).frequency_s) == (None, None)


@pytest.mark.parametrize(
    ("written", "instead", "expected"),
    [
        ("version: 1.2.0", "version: v2", "c.yaml:4: version: is not a semantic version"),
        ("version: 1.2.0", "status: draft", "already given"),
        ("description: {purpose: Orders.}", "description: {usage: x}", "c.yaml:6: meaning: `description.purpose`"),
        ("        description: Number.\n", "", "meaning: field `id` has no description"),
        ("- {property: bridge.unit, value: USD}", "", "c.yaml:19: meaning: the number `amount` has no unit"),
        ("        transformDescription: A means active.\n", "", "the code list is not explained"),
        ("value: 0.1, ", "", "c.yaml:7: quality: no level is stated"),
        ("unit: percent", "unit: rows", "errorRate needs `unit: percent`"),
        ("primaryKey: true", "primaryKey: false", "no field is primaryKey"),
        ("primaryKeyPosition: 1", "primaryKeyPosition: 2", "must count from 1"),
        ("trim(ord_no)", "pg_sleep(9)", "c.yaml:18 (line 1, column 8 of the expression): there is no function"),
        ("amount >= 0", "amout >= 0", "c.yaml:35: quality: `amout` is not a field"),
        ("logicalType: number", "logicalType: float", "logicalType is one of"),
        ("decimal(13,2)", "decimal(2,13)", "says how exact it is"),
        ("name: orders\n", "name: orders\n    physicalNam: x\n", "`physicalNam` is not a key of the standard"),
        ("apiVersion: v3.1.0", "apiVersion: v2.0.0", "c.yaml:1: schema: `apiVersion`"),
    ],
)  # fmt: skip
def test_a_missing_or_wrong_element_is_named_with_its_line(written: str, instead: str, expected: str) -> None:
    assert written in GOOD
    assert expected in mistakes(GOOD.replace(written, instead))


def test_all_mistakes_are_reported_at_once() -> None:
    text = GOOD.replace("version: 1.2.0", "version: x").replace("trim(ord_no)", "boom(1)").replace("percent", "rows")
    assert len(mistakes(text).splitlines()) >= 3


def test_a_keyless_contract_says_so() -> None:
    text = GOOD.replace("primaryKey: true", "primaryKey: false").replace(
        "  - name: orders\n", "  - name: orders\n    customProperties: [{property: bridge.key, value: none}]\n"
    )
    assert load(text).key_fields == ()


def test_the_digest_is_blind_to_layout_and_sees_every_value() -> None:
    assert load(GOOD).digest == load("# a comment\n" + GOOD.replace("purpose: Orders.", "purpose:   Orders.")).digest
    assert load(GOOD).digest != load(GOOD.replace("Orders.", "Orders!")).digest


@pytest.mark.parametrize("path", sorted(CONTRACTS.glob("*.odcs.yaml")), ids=lambda path: path.name)
def test_the_reference_contracts_are_complete(path: Path) -> None:
    assert document.load(path).fields


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (bomb, "once its aliases are expanded"),
        (lambda: "a: !!python/object/apply:os.system [ls]", "f:1: the tag"),
        (lambda: "k" * (10 << 20), "is larger than"),
        (lambda: "[" * 100_000, "nested deeper"),
        (lambda: "a: &a [*a]", "no anchor"),
        (lambda: "a: 1\nb: 2\na: 3", "f:3: the key `a` was already given on line 1"),
        (lambda: "a: 1\n---\nb: 2", "f:2: a second document"),
        (lambda: "a: {<<: {b: 1}}", "merge keys"),
        (lambda: "a: [", "is not YAML"),
        (lambda: "a: \x01", "is not YAML"),
    ],
)
def test_hostile_yaml_is_refused(make: Callable[[], str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yamlfile.parse(make(), file="f")
    assert expected in caught.value.detail


def test_scalars_follow_yaml_1_2_and_references_pass_untouched() -> None:
    found = yamlfile.parse("[NO, yes, on, 0o17, 0x1F, 010, 1.5, ~, true, 22:30, '1', '${env:X}', .inf]", file="f")
    assert found.data == ["NO", "yes", "on", 15, 31, 10, 1.5, None, True, "22:30", "1", "${env:X}", ".inf"]


def test_every_value_knows_its_line() -> None:
    found = yamlfile.parse("a:\n  - b: 1\n    c: [2,\n      3]\n", file="f")
    assert (found.line_of(("a", 0, "c")), found.line_of(("a", 0, "c", 1)), found.line_of(("a", 9))) == (3, 4, 1)
