"""One test event to a sink, beside what is delivered: whether the receiver takes it."""

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import structlog

from bridge.errors import BridgeError, InternalError, SinkUnavailable
from bridge.parcel import Message, Parcel
from bridge.ports import Sink

PATIENCE_S = 45.0  # for the receiver's answer; whoever asked waits a minute
_log = structlog.get_logger()


def test_message(*, instance: str, type_prefix: str) -> Message:
    """An event that says it is a test; no stream has it."""
    number = f"test:{uuid.uuid4()}"
    event = {
        "specversion": "1.0",
        "id": number,
        "source": f"/bridge/{instance}",
        "type": f"{type_prefix}.bridge.test",
        "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {"message": "a test of this sink; no business event"},
    }
    return Message(0, number, None, json.dumps(event, separators=(",", ":")).encode())


async def try_out(sink: Sink, message: Message, *, stream: str) -> dict[str, Any]:
    """Send the message as an event of this stream would go, or where a sink takes columns see that it opens."""
    started = time.perf_counter()
    failure: BridgeError | None = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            await sink.open()
            if sink.wants != "columns":
                failures = await sink.send(Parcel(stream, (message,), lines=message.text + b"\n"))
                failure = next(iter(failures.values()), None)
    except BridgeError as error:
        failure = error
    except TimeoutError:
        failure = SinkUnavailable(f"no answer within {PATIENCE_S:g} s")
    except Exception as bug:  # noqa: BLE001  in an adapter; whoever asked is told, and nothing else is stopped by it
        _log.error("sink.bug", sink=sink.name, error=bug)
        failure = InternalError(f"stopped by {type(bug).__name__}")
    return {
        "ok": failure is None,
        "detail": "" if failure is None else failure.detail,
        "hint": "" if failure is None else failure.hint,
        "took_ms": (time.perf_counter() - started) * 1e3,
    }
