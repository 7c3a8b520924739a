"""What receivers outside the bridge hold, each as CloudEvents: the files they noted, and the Parquet data set.

Read for the reckoning, which trusts neither side: the data set is turned into the texts that JSON would have, column by
column, by a second reader of the same values. Shares no code with the bridge.
"""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

UNCHANGED = 1  # kind of a mark: the source did not send the field
OTHER_HALF = {"d": "c", "c": "d"}  # of a key change, by the end of the id


def noted(file: Path) -> Iterator[dict[str, Any]]:
    """The events of a file of JSON lines; a last line that is cut short was never acknowledged."""
    if not file.exists():
        return
    with file.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)


def stored(folder: Path) -> Iterator[dict[str, Any]]:
    """The events of a data set FOLDER/STREAM/vMAJOR/date=.../FIRST-LAST.parquet, stream by stream, in order."""
    for stream in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        rows: list[dict[str, Any]] = []
        for file in stream.glob("v*/date=*/[!.]*.parquet"):
            rows += pq.read_table(file, partitioning=None).to_pylist()
        for row in sorted(rows, key=lambda row: row["_seq"]):
            yield _event(stream.name, row)


def _event(stream: str, row: dict[str, Any]) -> dict[str, Any]:
    marks = row["_marks"] or []
    marked = {mark["field"] for mark in marks}
    data = {name: _text(value) for name, value in row.items() if not name.startswith("_") and name not in marked}
    event = {
        "id": row["_id"],
        "source": f"/lake/{stream}",
        "type": f"lake.{stream}.{row['_op']}.v1",
        "subject": row["_key"] or "",
        "data": {} if row["_op"] == "deleted" else data,
        "unchanged": ",".join(mark["field"] for mark in marks if mark["kind"] == UNCHANGED),
    }
    if row["_moved"]:
        event["counterpart"] = row["_id"][:-1] + OTHER_HALF[row["_id"][-1]]
    return event


def _text(value: Any) -> Any:  # noqa: ANN401  a value of a column
    """As CloudEvents in JSON show it."""
    if isinstance(value, datetime):
        text = value.astimezone(UTC).isoformat(timespec="microseconds") if value.tzinfo else value.isoformat()
        return text.replace("+00:00", "Z")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, (Decimal, date, time)) else value
