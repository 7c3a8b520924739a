"""The contract page lists every function there is."""

from pathlib import Path

from bridge.contract import expression

PAGE = Path(__file__).parents[2] / "docs" / "contracts.md"


def test_every_function_is_documented() -> None:
    page = PAGE.read_text()
    names = [name.strip() for names in expression.CALLS.values() for name in names.split(",")]
    assert [name for name in [*names, *expression.LEGACY_FUNCTIONS] if f"`{name}" not in page] == []
