"""The peer of `webhook_out`: a procrastinate task an event, deferred beforehand, each one request.

``python -m bench.webhook_peer FOLDER URL DSN`` sends the first events of a filled folder to the healthy endpoints and
prints how many a second one worker made. It has an empty database; tasks keep no order of keys and sign nothing.
"""

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import procrastinate

from bench import waiting
from bench.webhook_out import HEADERS, HEALTHY, IN_ALL

EVENTS = 100  # for each endpoint


async def _rate(folder: Path, url: str, dsn: str) -> float:
    connector = procrastinate.PsycopgConnector(conninfo=dsn, min_size=4, max_size=16)
    app: Any = procrastinate.App(connector=connector)
    async with app.open_async(), contextlib.AsyncExitStack() as stack:
        clients = {name: await stack.enter_async_context(httpx2.AsyncClient(trust_env=False)) for name in HEALTHY}

        async def send(endpoint: str, text: str) -> None:
            (await clients[endpoint].post(f"{url}/{endpoint}", content=text, headers=HEADERS)).raise_for_status()

        task = app.task(send, name="send")
        await app.schema_manager.apply_schema_async()
        texts = [text.decode() for text in waiting.texts(folder)[:EVENTS]]
        calls = [{"endpoint": name, "text": text} for text in texts for name in HEALTHY]
        await task.batch_defer_async(*calls)
        await app.connector.execute_query_async("ANALYZE procrastinate_jobs")
        began_at = time.perf_counter()
        await app.run_worker_async(concurrency=IN_ALL, wait=False, install_signal_handlers=False)
        return len(calls) / (time.perf_counter() - began_at)


if __name__ == "__main__":
    print(json.dumps({"rate": asyncio.run(_rate(Path(sys.argv[1]), *sys.argv[2:]))}))
