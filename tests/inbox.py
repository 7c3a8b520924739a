"""A daemon that systems send to, as its own process and without any database, and a sender that never gives up.

`Sender` repeats every request until it is acknowledged, as an honest sender does, and keeps what was: the oracle for
"nothing lost, nothing doubled".
"""

import base64
import http.client
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from standardwebhooks.webhooks import Webhook

from demo.processes import free_port
from tests.daemon import DEADLINE_S, PORTS, Daemon, wait_for

SECRET = "whsec_" + base64.b64encode(b"a secret of the shop's webhooks.").decode()


class SentDaemon(Daemon):
    """A daemon whose streams are sent to it, without any database.

    Args:
        folder: for configuration, contracts, journal and log.
        systems: the section of the configuration.
    """

    def __init__(self, folder: Path, systems: Mapping[str, Any]) -> None:
        self.folder = folder
        self.path = folder / "bridge.yaml"
        self.port = free_port(PORTS)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        self.document = {
            "bridge": {
                "name": "test",
                "type_prefix": "com.example",
                "journal": {"sqlite": str(folder / "journal.db")},
                "http": {"port": self.port},
                "log": {"level": "info", "format": "json"},
            },
            "systems": dict(systems),
            "streams": {},
        }
        self._stream: Mapping[str, Any] = {}
        self._process = None

    def add_stream(self, name: str, **keys: Any) -> None:  # noqa: ANN401  keys of its section
        """One more stream."""
        self.write_contract(name)
        self.document["streams"][name] = {"contract": f"{name}.odcs.yaml", **keys}

    def start(self, **options: Any) -> Self:  # noqa: ANN401  of `launch`
        """Start it and wait until every system is read."""
        self.launch(**options)
        self.wait_reading()
        return self

    def _reads_or_ended(self) -> bool:
        health = self.health()
        return not self.is_running or all(
            health.get(f"source:{system}", {}).get("status") == "pass" for system in self.document["systems"]
        )


class InboxDaemon(SentDaemon):
    """A daemon with one stream `articles` that comes in by requests, signed by Standard Webhooks unless said otherwise.

    Args:
        folder: for configuration, contracts, journal and log.
        webhook: keys of the system's section.
    """

    def __init__(self, folder: Path, **webhook: Any) -> None:  # noqa: ANN401  keys of its section
        verified = webhook if {"github", "stripe", "basic"} & webhook.keys() else {"standard": SIGNED, **webhook}
        super().__init__(folder, {"shop": {"webhook": verified}})
        self.environment["HOOK_SECRET"] = SECRET
        self.add_stream("articles", system="shop", webhook="articles")
        self.write()

    def post(
        self, body: bytes, headers: Mapping[str, str], *, path: str = "shop/articles", method: str = "POST"
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request; status, headers in lower case and body of its answer. Raises: OSError."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, f"/v1/inbox/{path}", body or None, dict(headers))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def send(self, row: Mapping[str, Any], *, of: str) -> int:
        """Send one row, signed; returns the status."""
        body = json.dumps(row).encode()
        return self.post(body, signed(body, of=of))[0]


SIGNED = {"secrets": ["${env:HOOK_SECRET}"]}


def signed(body: bytes, *, of: str, at: datetime | None = None, secret: str = SECRET) -> dict[str, str]:
    """The headers of a request as the reference library of Standard Webhooks signs it."""
    at = at or datetime.now(UTC)
    signature = Webhook(secret).sign(of, at, body.decode())
    return {
        "content-type": "application/json",
        "webhook-id": of,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }


class InThread:
    """Does `_run` in a thread until the block ends, which sets `_stop`."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        raise NotImplementedError


class Sender(InThread):
    """Sends rows with ids counting up from `first`; repeats each until acknowledged."""

    def __init__(self, daemon: InboxDaemon, *, first: int = 1, sends_twice: int = 0) -> None:
        super().__init__()
        self.acknowledged: list[int] = []
        self._daemon = daemon
        self._next = first
        self._sends_twice = sends_twice

    def wait_acknowledged(self, more: int) -> None:
        """Until that many more are acknowledged."""
        wanted = len(self.acknowledged) + more
        wait_for(lambda: len(self.acknowledged) >= wanted, why=self._daemon.log_tail)

    def _run(self) -> None:
        while not self._stop.is_set():
            number, self._next = self._next, self._next + 1
            while not self._sent(number):
                time.sleep(0.01)  # the daemon is down
            self.acknowledged.append(number)
            if self._sends_twice and number % self._sends_twice == 0:
                self._sent(number)

    def _sent(self, number: int) -> bool:
        try:
            return self._daemon.send({"id": number, "name": "n", "amount": 1}, of=f"msg_{number}") in (200, 202)
        except OSError:
            return False


def reckon_inbox(daemon: Daemon, stream: str, *expected: int) -> None:
    """Demand that the journal holds each of these once, and nothing else."""
    found = Counter(number for _, number in daemon.changes(stream))
    wanted = Counter(expected)
    assert found == wanted, f"lost: {wanted - found}, doubled: {found - wanted}"
    assert daemon.doubled(stream) == []
