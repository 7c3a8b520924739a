"""`legacy-bridge events`: read a stream out of the journal, as text, as CloudEvents, or into a file of columns."""

import json
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.options import Stream
from bridge.cli.session import session
from bridge.cli.show import note, on_terminal, printable, say

if TYPE_CHECKING:
    from bridge.config.models import Config
    from bridge.export import Envelope
    from bridge.model import Block
    from bridge.ports import Journal

CUT = 40  # characters of a value that a terminal shows
QUICK_MS, SLOW_MS = 1, 20  # how long a follower sleeps right after an event, and when nothing comes


def events(  # noqa: PLR0913 - a parameter is an option
    context: typer.Context,
    *,
    stream: Stream,
    after: Annotated[int, typer.Option(metavar="SEQ", min=0, help="Only events after this sequence number.")] = 0,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only events of this key.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most this many events.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more, until interrupted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="CloudEvents 1.0, one a line.")] = False,
    arrow: Annotated[Path | None, typer.Option(metavar="FILE", help="Write columns to an Arrow file.")] = None,
    parquet: Annotated[Path | None, typer.Option(metavar="FILE", help="Write columns to a Parquet file.")] = None,
) -> None:
    """Read the events of a stream, oldest first.

    Decimals are JSON strings, binary values base64; a field that did not change is absent and named in `unchanged`.
    """
    if sum([as_json, arrow is not None, parquet is not None]) > 1:
        raise typer.BadParameter("choose one of --json, --arrow and --parquet")
    target = arrow or parquet
    if target is not None and follow:
        raise typer.BadParameter("--follow writes no files")
    opened = session(context)
    config = opened.config()
    found = envelope(config, stream)
    with opened.journal(config) as journal:
        if target is not None:
            from bridge.cli.files import write_events

            count = write_events(journal, stream, target, after=after, key=key, limit=limit, parquet=target is parquet)
            note(f"{count} events written to {target}")
            return
        for block, wanted in _blocks(journal, stream, after=after, key=key, limit=limit, follow=follow):
            _print(block, found, key=key, wanted=wanted, as_json=as_json)


def envelope(config: "Config", stream: str) -> "Envelope":
    """What the events of a configured stream have in common. Raises: ConfigError."""
    from bridge.contract.document import load as load_contract
    from bridge.naming import envelope_of

    contract = load_contract(config.stream(stream).contract)
    return envelope_of(config, stream, contract_id=contract.id, key_fields=contract.key_fields)


def _blocks(
    journal: "Journal", stream: str, *, after: int, key: str | None, limit: int | None, follow: bool
) -> Iterator[tuple["Block", int | None]]:
    """Blocks to print, each with how many of its events are still wanted (None: all)."""
    left = limit
    while True:
        version = journal.version()
        for block in journal.read(stream, after=after, limit=None if key is not None else left):
            yield block, left
            after = block.last
            if left is not None:
                left -= _matching(block, key)
                if left <= 0:
                    return
        if not follow:
            return
        _wait_for_change(journal, version)


def _matching(block: "Block", key: str | None) -> int:
    """How many events of the block have the key."""
    if key is None:
        return int(block.batch.num_rows)
    import pyarrow.compute as pc

    return pc.sum(pc.equal(block.batch.column("_key"), key)).as_py() or 0


def _wait_for_change(journal: "Journal", version: int) -> None:
    """Return when the journal may hold more. Raises: BrokenPipeError as soon as the reader of stdout is gone."""
    reader_gone = select.poll()
    reader_gone.register(sys.stdout.fileno(), 0)  # no event but the error ones, which are always reported
    delay_ms = QUICK_MS
    while journal.version() == version:
        if reader_gone.poll(delay_ms):
            raise BrokenPipeError
        delay_ms = min(delay_ms * 2, SLOW_MS)


def _print(block: "Block", envelope: "Envelope", *, key: str | None, wanted: int | None, as_json: bool) -> None:
    from bridge.export import cloudevents

    lines = cloudevents(block, envelope, key=key)[:wanted]
    if not lines:
        return
    if as_json:
        sys.stdout.flush()
        sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
        sys.stdout.buffer.flush()
        return
    for line in lines:  # text is for people: as slow as they read
        say(_as_text(json.loads(line)))
    sys.stdout.flush()


def _as_text(event: dict[str, Any]) -> str:
    """One event on one line: sequence number, time, what happened, key, values."""
    happened = event["type"].split(".")[-2]
    values = " ".join(f"{name}={_short(value)}" for name, value in (event.get("data") or {}).items())
    unchanged = f" unchanged={event['unchanged']}" if "unchanged" in event else ""
    when = event.get("time", "-")
    line = (
        f"{int(event['sequence']):>9}  {when:<27}  {happened:<9}  {event.get('subject', '-'):<16}  {values}{unchanged}"
    )
    return printable(line).rstrip()


def _short(value: object) -> str:
    """A value in a line; long ones are cut on a terminal, where the eye is the reader."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:CUT] + "…" if on_terminal() and len(text) > CUT else text
