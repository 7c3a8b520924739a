"""`legacy-bridge compare`: what a stream's events amount to, held against the rows they speak of."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.ask import ask
from bridge.cli.options import Stream
from bridge.cli.session import session
from bridge.cli.show import note, on_terminal, say, say_json, table

if TYPE_CHECKING:
    from bridge.cli.session import Session
    from bridge.comparing import Comparison
    from bridge.reconcile.compare import Report

SHOWN = 100  # differences; --json has all
PROGRESS_S = 0.2


def compare(
    context: typer.Context,
    *,
    stream: Stream,
    against: Annotated[
        str | None,
        typer.Option("--with", metavar="TABLE|VIEW|STREAM", help="Else: what the stream is read from."),
    ] = None,
    heal: Annotated[bool, typer.Option("--heal", help="Correct the keys that differ, by declared events.")] = False,
    patience: Annotated[float, typer.Option(help="Seconds to wait for the journal, at each look.", min=1)] = 60.0,
    looks: Annotated[int, typer.Option(help="How often to look at keys that keep changing.", min=1)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Compare a stream with its table, a view or another stream, while changes go on.

    Exit code 1 when they differ, and what differs was not corrected.
    """
    from bridge.comparing import prepared
    from bridge.correct import COMPARED, told_of
    from bridge.reconcile.compare import Patience

    opened = session(context)
    config = opened.config()
    corrected = moved = 0
    with (
        opened.journal(config) as journal,
        prepared(
            config,
            journal,
            stream,
            against=against,
            patience=Patience(looks, patience),
            ask=partial(ask, opened),
            told=lambda why: note(f"waiting: {why}"),
        ) as comparison,
    ):
        report = comparison.run(_progress())
        if heal and not report.is_equal:
            corrected, moved = _healed(opened, comparison, report)
        charge = comparison.charge()
        if charge is not None:
            ask(opened, COMPARED, told_of(charge, against=comparison.against, differences=len(report.differences)))
    _show(comparison, report, corrected=corrected if heal else None, moved=moved, as_json=as_json)
    if not report.is_equal and corrected < len(report.differences):
        raise typer.Exit(1)


def _healed(opened: "Session", comparison: "Comparison", report: "Report") -> tuple[int, int]:
    """How many keys were corrected, and how many had moved since they were compared."""
    from bridge.correct import KIND

    done = [ask(opened, KIND, args).result for args in comparison.corrections(report)]  # each before the next is drawn
    return sum(int(one["corrected"]) for one in done), sum(len(one["moved"]) for one in done)


def _progress() -> Callable[[str, int], None]:
    shown_at, is_shown = 0.0, on_terminal()

    def progress(step: str, count: int) -> None:
        nonlocal shown_at
        if is_shown and time.monotonic() - shown_at >= PROGRESS_S:
            shown_at = time.monotonic()
            note(f"{step}: {count:,}")

    return progress


def _show(comparison: "Comparison", report: "Report", *, corrected: int | None, moved: int, as_json: bool) -> None:
    charge = comparison.charge()
    cost = {name: getattr(charge, name) for name in ("queries", "seconds", "rows", "size_bytes")} if charge else {}
    if as_json:
        whole = asdict(replace(report, own_keys=None)) | {"equal": report.is_equal, "cost": cost}
        del whole["own_keys"]
        whole |= {"stream": comparison.stream, "with": comparison.against}
        say_json(whole | ({"corrected": corrected, "moved": moved} if corrected is not None else {}))
        return
    rows = [[one.key, one.kind, ", ".join(one.fields)] for one in report.differences[:SHOWN]]
    if rows:
        table(["key", "difference", "fields"], rows)
    if len(report.differences) > SHOWN:
        say(f"... and {len(report.differences) - SHOWN:,} more; --json has all")
    rest = {"unsettled": len(report.unsettled), "rejected": report.rejected, "not held": report.not_held}
    said = ", ".join(f"{count:,} {word}" for word, count in rest.items() if count)
    say(
        f"stream {comparison.stream} and {comparison.against}: {len(report.differences):,} differences in"
        f" {report.rows:,} rows and {report.keys:,} keys, {report.looks} look{'s' if report.looks > 1 else ''},"
        f" {report.seconds:.1f} s" + (f"; {said}" if said else "")
    )
    if cost:
        say(f"cost: {cost['queries']:,} queries, {cost['seconds']:.1f} s at work, {cost['size_bytes'] / 1e6:,.1f} MB")
    if corrected is not None:
        say(f"corrected: {corrected:,} keys" + (f"; {moved:,} had moved meanwhile, compare again" if moved else ""))
