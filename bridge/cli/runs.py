"""`legacy-bridge runs` and `bill`: when polled streams were read, why they were not, and what it cost the system."""

from collections import defaultdict
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bridge.cli.ask import ask
from bridge.cli.options import DryRun, Json, Stream, System
from bridge.cli.session import session
from bridge.cli.show import note, say, say_json, say_result, span, table
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.extracted import Charge, Run
    from bridge.ports import Journal

runs = typer.Typer(help="Runs of polled streams: list, show, start, cancel.")

_SHOWN = 30


class NoSuchRun(BridgeError):
    """There is no run with that number, or more than one."""

    code = "run.unknown"
    default_hint = "See `legacy-bridge runs`."
    exit_code = 66


@runs.callback(invoke_without_command=True)
def list_runs(
    context: typer.Context,
    *,
    stream: Annotated[str | None, typer.Option(metavar="STREAM", help="Only of this stream.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="At most this many.")] = _SHOWN,
    as_json: Json = False,
) -> None:
    """List the newest runs, and the moments that brought none with the reason."""
    if context.invoked_subcommand is not None:
        return
    opened = session(context)
    config = opened.config()
    if stream is not None:
        config.stream(stream)
    with opened.journal(config) as journal:
        found = [_told(journal, run) for run in journal.runs(stream=stream, limit=limit)]
    if as_json:
        say_json(found)
        return
    headings = [
        "run",
        "source",
        "stream",
        "kind",
        "state",
        "started",
        "took",
        "usually",
        "rows",
        "rejected",
        "cause",
        "why",
    ]
    table(headings, [_row(one) for one in found])


@runs.command()
def show(
    context: typer.Context,
    *,
    number: Annotated[int, typer.Argument(metavar="N", help="Number of the run.", show_default=False)],
    source: Annotated[str | None, typer.Option(metavar="NAME", help="Of this source, where several have one.")] = None,
    as_json: Json = False,
) -> None:
    """Show one run: when, why, what it read, what became of the rows, what it cost."""
    opened = session(context)
    with opened.journal(opened.config()) as journal:
        runs = journal.runs(number=number, source=source, limit=100)
        if len(runs) != 1:
            sources = ", ".join(run.source for run in runs)
            hint = f"Say of which source, with --source: {sources}." if runs else None
            raise NoSuchRun(f"{len(runs) or 'no'} runs have the number {number}", hint=hint)
        found = _told(journal, runs[0])
    if as_json:
        say_json(found)
        return
    for name, value in found.items():
        say(f"{name.replace('_', ' '):<14} {_shown(name, value)}")


@runs.command()
def start(
    context: typer.Context,
    *,
    name: Stream,
    kind: Annotated[
        Literal["run", "full", "sweep"], typer.Option(help="As the view says; every row compared; the keys alone.")
    ] = "run",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Read a polled stream now, or as soon as the budget lets it. Without a daemon the request waits for one."""
    opened = session(context)
    if dry_run:
        opened.config().stream(name)
        note(f"would start a run of {name}")
        return
    outcome = ask(opened, "run.start", {"stream": name, "kind": kind})
    say_result(outcome.result if outcome.done else {"stream": name, "waits": "for a daemon"}, as_json=as_json)


@runs.command()
def cancel(context: typer.Context, *, name: Stream, dry_run: DryRun = False, as_json: Json = False) -> None:
    """End the run of a stream, and let none follow that somebody asked for; what it read stays journalled."""
    opened = session(context)
    if dry_run:
        opened.config().stream(name)
        note(f"would cancel the run of {name}")
        return
    outcome = ask(opened, "run.cancel", {"stream": name})
    say_result(outcome.result if outcome.done else {"stream": name, "waits": "for a daemon"}, as_json=as_json)


def bill(
    context: typer.Context,
    *,
    system: System,
    hours: Annotated[int, typer.Option(metavar="N", min=1, max=9_600, help="Hours back, this one included.")] = 24,
    as_json: Json = False,
) -> None:
    """Show what polling asked of a system: queries, seconds at work, rows and bytes, by hour."""
    opened = session(context)
    config = opened.config()
    config.system(system)
    with opened.journal(config) as journal:
        charges = journal.bill(system=system, since=datetime.now(UTC) - timedelta(hours=hours - 1))
    if as_json:
        say_json([asdict(charge) for charge in charges])
        return
    by_hour: defaultdict[object, list[Charge]] = defaultdict(list)
    for charge in charges:
        by_hour[charge.at].append(charge)
    rows = [_sum(hour, of_hour) for hour, of_hour in by_hour.items()]
    table(["hour", "queries", "seconds", "rows", "bytes"], [*rows, _sum("all", charges)])


def _sum(heading: object, charges: Any) -> tuple[object, ...]:  # noqa: ANN401  charges
    return (
        heading,
        sum(one.queries for one in charges),
        f"{sum(one.seconds for one in charges):.3f}",
        sum(one.rows for one in charges),
        sum(one.size_bytes for one in charges),
    )


def _told(journal: "Journal", run: "Run") -> dict[str, Any]:
    """A run with how long it took and how long such runs usually take."""
    from bridge.extraction.runs import HISTORY, took, usual

    now = datetime.now(UTC)
    usually = usual(journal.runs(stream=run.stream, limit=10 * HISTORY), run) if run.state != "skipped" else None
    return {
        **asdict(run),
        "took_s": took(run, now).total_seconds() if run.state != "skipped" else None,
        "usually_s": usually.total_seconds() if usually is not None else None,
    }


def _row(run: dict[str, Any]) -> tuple[object, ...]:
    took_s, usually_s = run["took_s"], run["usually_s"]
    more = f" ({run['moments']} times)" if run["moments"] > 1 else ""
    return (
        run["number"],
        run["source"],
        run["stream"],
        run["kind"],
        run["state"],
        run["started_at"],
        None if took_s is None else span(took_s),
        None if usually_s is None else span(usually_s),
        run["rows"],
        run["rejected"],
        run["cause"],
        run["detail"] + more,
    )


def _shown(name: str, value: Any) -> str:  # noqa: ANN401  of a run, whatever it is
    from bridge.cli.show import cell
    from bridge.model import Op

    if name == "counts":
        return cell(", ".join(f"{count} {Op(ord(letter)).word}" for letter, count in value.items()))
    if isinstance(value, float) and name.endswith("_s"):
        return span(value)
    return cell(value)
