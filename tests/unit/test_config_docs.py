"""docs/configuration.md lists every key as the models define it, and nothing else."""

import re
from pathlib import Path

from bridge.config import keys

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def row(key: keys.Key) -> str:
    """The line of the reference table for a key."""
    default = "**required**" if key.required else f"`{key.default}`" if key.default is not None else ""
    values = " · ".join(f"`{word}`" for word in key.choices)
    text = f"{key.description} {values}".strip()
    return f"| `{key.dotted}` | {text} | {default} | {'yes' if key.live else ''} |"


def test_the_reference_lists_every_key_with_its_meaning_default_and_words() -> None:
    listed = [
        line
        for line in PAGE.read_text().splitlines()
        if re.match(r"\| `(bridge|systems|streams|sinks|principals|alarms)\.", line)
    ]
    assert listed == [row(key) for key in keys.every()]


def test_every_key_explains_itself() -> None:
    assert all(key.description.endswith(".") for key in keys.every())


def test_a_path_of_a_file_leads_to_its_key() -> None:
    key = keys.at(("streams", "orders", "on_reject"))
    assert key is not None
    assert (key.dotted, key.choices, key.live) == ("streams.*.on_reject", ("pass", "hold"), True)
    assert keys.at(("streams", "orders")) is None
    assert keys.below(("systems", "erp", "webhook", "basic")) == ["user", "password"]
    assert keys.below(("streams",)) == []
