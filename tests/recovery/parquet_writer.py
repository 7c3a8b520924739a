"""A process that delivers orders 1 to 60 to a Parquet folder from where that stands, until it is killed or done."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from bridge.sinks.parquet import ParquetSink
from tests.parcels import NOON, parcel

LAST = 60
CHANGE = {number: {"_commit_at": NOON + timedelta(days=number % 3)} for number in range(1, LAST + 1) if number % 20 > 8}


async def deliver(folder: Path, size: int) -> None:
    """Send what is missing, `size` events a parcel."""
    sink = ParquetSink("lake", folder)
    await sink.open()
    while (after := sink.stands_at("orders") or 0) < LAST:
        await sink.send(parcel(range(after + 1, min(after + size, LAST) + 1), change=CHANGE))
    await sink.close()


if __name__ == "__main__":
    asyncio.run(deliver(Path(sys.argv[1]), int(sys.argv[2])))
