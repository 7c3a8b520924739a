"""What the demonstration shows while it runs: a live table on a terminal, one line a second otherwise."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bridge.cli.show import span

LINE_S = 1.0
FRAME_S = 0.25


class View:
    """Shows the figures of `bridge.cli.status.overview`, no more often than is of use."""

    def __init__(self) -> None:
        self._begun = self._shown = time.monotonic()
        self._counts: dict[str, int] = {}  # events per stream when last shown
        self._live = Live(console=Console(), auto_refresh=False) if sys.stdout.isatty() else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, figures: Mapping[str, Any]) -> None:
        """Show the figures if the last showing is long enough ago."""
        now = time.monotonic()
        elapsed_s = now - self._shown
        if elapsed_s < (FRAME_S if self._live else LINE_S):
            return
        streams = figures["streams"]
        rates = {row["stream"]: (row["events"] - self._counts.get(row["stream"], 0)) / elapsed_s for row in streams}
        if self._live is None:
            print(self._line(streams, rates, now - self._begun), flush=True)
        else:
            self._live.update(_table(streams, rates, now - self._begun), refresh=True)
        self._counts = {row["stream"]: row["events"] for row in streams}
        self._shown = now

    @staticmethod
    def _line(streams: list[dict[str, Any]], rates: Mapping[str, float], seconds: float) -> str:
        lags = [row["lag_s"] for row in streams if row["lag_s"] is not None]
        events, dead = sum(row["events"] for row in streams), sum(row["dead_letters"] for row in streams)
        each = " ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
        lag = span(max(lags)) if lags else "-"
        return (
            f"{seconds:5.0f} s  events {events:>8}  dead letters {dead:>4}  lag {lag:>8}  "
            f"rate {sum(rates.values()):>7.0f}/s  ({each})"
        )


def _table(streams: list[dict[str, Any]], rates: Mapping[str, float], seconds: float) -> Table:
    drawn = Table(title=f"legacy bridge, {seconds:.0f} s", title_justify="left")
    for heading in ("stream", "events", "events/s", "dead letters", "lag"):
        drawn.add_column(heading, justify="left" if heading == "stream" else "right")
    for row in streams:
        lag = "-" if row["lag_s"] is None else span(row["lag_s"])
        shown = (row["events"], f"{rates[row['stream']]:.0f}", row["dead_letters"], lag)
        drawn.add_row(row["stream"], *map(str, shown))
    total = sum(row["events"] for row in streams), f"{sum(rates.values()):.0f}"
    drawn.add_section()
    drawn.add_row("all", *map(str, total), str(sum(row["dead_letters"] for row in streams)), "")
    return drawn
