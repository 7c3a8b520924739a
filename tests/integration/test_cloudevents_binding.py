"""The scenarios of CloudEvents' own conformance suite for HTTP, at the door and on the way out, on data of our own.

Source: github.com/cloudevents/conformance, features/http-protocol-binding.feature.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.inbox.cloudevents import BATCH, STRUCTURED
from tests.daemon import wait_for
from tests.inbox import InboxDaemon, signed

MODES = ("structured", "binary", "batch")
ROW = {"id": 7, "name": "Tor 🌙", "amount": 3}
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "b-17",
    "source": "/depot/gate",
    "type": "example.depot.counted",
    "time": "2021-06-07T08:09:10Z",
}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[InboxDaemon]:
    with InboxDaemon(tmp_path) as made:
        yield made


def shown(daemon: InboxDaemon, stream: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in daemon.ask("events", stream, "--json").splitlines()]


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("binary", "application/json"),
        ("binary", "application/json; charset=utf-8"),
        ("structured", STRUCTURED),
        ("structured", f"{STRUCTURED}; charset=utf-8"),
        ("batch", BATCH),
    ],
)
def test_an_event_in_any_content_mode_is_the_event_that_it_says(daemon: InboxDaemon, mode: str, kind: str) -> None:
    daemon.start()
    whole = EVENT | {"datacontenttype": "application/json", "data": ROW}
    body = json.dumps({"binary": ROW, "structured": whole, "batch": [whole]}[mode], indent=4).encode()
    headers = signed(body, of="m") | {"content-type": kind}
    if mode == "binary":
        headers |= {f"CE-{name}": value for name, value in EVENT.items()}
    assert daemon.post(body, headers)[0] == 202
    (event,) = shown(daemon, "articles")
    assert (event["data"], event["time"]) == (ROW, "2021-06-07T08:09:10.000000Z")
    assert daemon.post(body, headers | signed(body, of="n") | {"content-type": kind})[0] == (
        202 if mode == "binary" else 200
    ), "the event is known again by source and id, where the signature covers them"


def test_what_we_send_in_any_content_mode_we_take_in_alike(daemon: InboxDaemon) -> None:
    daemon.document["sinks"] = {}
    for mode in MODES:
        daemon.add_stream(mode, system="shop", webhook=mode)
        daemon.document["sinks"][f"to-{mode}"] = {
            "streams": ["articles"],
            "webhook": {
                "url": f"http://127.0.0.1:{daemon.port}/v1/inbox/shop/{mode}",
                "secrets": ["${env:HOOK_SECRET}"],
                "allow_networks": ["127.0.0.0/8"],
                "format": mode,
            },
        }
    daemon.write()
    daemon.start()
    for number in range(1, 6):
        assert daemon.send(ROW | {"id": number}, of=f"m{number}") == 202
    sent = [(event["subject"], event["time"], event["data"]) for event in shown(daemon, "articles")]
    for mode in MODES:
        wait_for(lambda: len(shown(daemon, mode)) == len(sent), why=daemon.log_tail)  # noqa: B023  called at once
        taken = [(event["subject"], event["time"], event["data"]) for event in shown(daemon, mode)]
        assert sorted(taken, key=str) == sorted(sent, key=str), mode
