"""The webhook sink alone, 8 requests under way, against a bare HTTP client that sends the same bodies.

The sink reads its secret, signs, checks where it connects to and judges the answer; the limit does none of it. Both run
as processes of their own against the same server, which shares the machine with them.
"""

import asyncio
import base64
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx2

from bench import program
from bench.answering import answering
from bench.claim import Claim, Measure, Readers, Target
from bench.source import scaled
from bridge.config.sinks import WebhookConfig
from bridge.parcel import Message, Parcel
from bridge.sinks.webhook import WebhookSink

REQUESTS = 20_000
CONCURRENCY = 8
BODY = json.dumps(
    {"specversion": "1.0", "id": "orders:1:16B374D8:0", "source": "/bridge/acme/erp/orders", "type": "com.acme.created"}
    | {"subject": "A-1", "datacontenttype": "application/json", "data": {f"field_{n}": f"value {n}" for n in range(40)}}
).encode()

Send = Callable[[], Awaitable[object]]


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A server for both."""
    with answering() as server:
        url, count = f"{server}/hook", str(scaled(REQUESTS))
        yield Readers(
            ours=lambda: program.measure("bench.webhook_sink", "ours", url, count),
            limit=lambda: program.measure("bench.webhook_sink", "limit", url, count),
            notes=(f"limit: httpx2 {httpx2.__version__}, one client; {len(BODY)} bytes a body",),
        )


async def _rate(send: Send, count: int) -> float:
    """Requests a second, after a tenth that do not count."""

    async def lane(number: int) -> None:
        for _ in range(number):
            await send()

    async def run(number: int) -> float:
        start = time.perf_counter()
        await asyncio.gather(*(lane(number // CONCURRENCY) for _ in range(CONCURRENCY)))
        return number / (time.perf_counter() - start)

    await run(max(count // 10, CONCURRENCY))
    return await run(count)


async def _ours(url: str, count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "secret"
        secret.write_text(f"whsec_{base64.b64encode(b'k' * 32).decode()}")
        settings = {"url": url, "secrets": [f"${{file:{secret}}}"], "allow_networks": ["127.0.0.0/8"]}
        sink = WebhookSink("bench", WebhookConfig.model_validate(settings), concurrency=CONCURRENCY)
        parcel = Parcel("orders", (Message(1, "orders:1:16B374D8:0", "A-1", BODY),))
        try:
            return await _rate(lambda: sink.send(parcel), count)
        finally:
            await sink.close()


async def _limit(url: str, count: int) -> float:
    headers = {"content-type": "application/cloudevents+json; charset=UTF-8"}
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await _rate(lambda: client.post(url, content=BODY, headers=headers), count)


CLAIM = Claim(
    name="webhook_sink",
    about="signed webhooks to one endpoint, 8 under way; the limit is a bare HTTP client",
    measures=(Measure("rate", "requests/s", Target(of_limit=0.5)),),
    open=prepare,
)

if __name__ == "__main__":
    reader = {"ours": _ours, "limit": _limit}[sys.argv[1]]
    print(json.dumps({"rate": asyncio.run(reader(sys.argv[2], int(sys.argv[3])))}))
