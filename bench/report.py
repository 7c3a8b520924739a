"""Results as a table for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.runner import Result


def print_table(results: Sequence[Result], machine: Mapping[str, str]) -> None:
    """Print one line a result, with the machine below."""
    table = Table("claim", "ours", "limit", "peer", "unit", "of limit", "of peer", "spread", "RSS", "met")
    for result in results:
        spread = "/".join(f"{value:.0%}" for value in result.spread.values())
        shares = (f"{share:.2f}" if share is not None else "-" for share in (result.of_limit, result.of_peer))
        numbers = (_number(value) for value in (result.ours, result.limit, result.peer))
        rss = f"{result.peak_rss_mb:,.0f} MB" if result.peak_rss_mb else "-"
        table.add_row(result.claim, *numbers, result.unit, *shares, spread, rss, "yes" if result.met else "NO")
    Console(width=150).print(table)
    print(", ".join(f"{name} {value}" for name, value in machine.items()))


def write_json(results: Sequence[Result], machine: Mapping[str, str], path: Path) -> None:
    """Write the results as a list of records."""
    path.write_text(json.dumps([result.as_json(machine) for result in results], indent=2) + "\n")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
