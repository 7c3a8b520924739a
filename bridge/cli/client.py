"""A running daemon's HTTP door, asked as a named principal: one request after another on one connection.

Promises: the key goes only over TLS or to this machine; what the door refuses becomes an error with its reason and what
to do; an act that takes longer is waited for.
"""

import http.client
import json
import os
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from bridge.cli.ask import PATIENCE_S, RequestPending
from bridge.errors import BridgeError, ConfigError

KEY_VARIABLE = "LEGACY_BRIDGE_KEY"
ANSWER_S = 60.0
AGAIN_S = 1.0  # before a live connection is made again
_LATER = 202
_PASSING = (429, 503)  # of a live connection: made again
_HINTS = {401: "Give a good key by --key-file or LEGACY_BRIDGE_KEY.", 403: "Ask whoever writes `principals`."}
_EXITS = {401: 77, 403: 77, 404: 66, 400: 64, 429: 75, 503: 75}


class DoorRefused(BridgeError):
    """The door answered with a problem."""

    code = "door.refused"
    default_hint = "docs/problems.md lists every problem."
    exit_code: ClassVar[int] = 1

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        hint = problem.get("hint") or _HINTS.get(status)
        super().__init__(str(problem.get("detail") or f"the door answered {status}"), hint=hint)
        self.status = status
        self.exit_code = _EXITS.get(status, 1)  # type: ignore[misc]  # of this one, by its status


class DoorUnreachable(BridgeError):
    """Nothing answers at the address."""

    code = "door.unreachable"
    default_hint = "Check --server, and that the daemon runs."
    exit_code = 69


@dataclass(frozen=True, slots=True)
class Server:
    """Where a door is, and the key that opens it."""

    url: str
    key: str

    @classmethod
    def of(cls, url: str, key_file: Path | None) -> "Server":
        """A server as it is given on the command line. Raises: ConfigError."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ConfigError(f"{url}: not an address of a door", hint="Write https://host, or http://127.0.0.1:8079.")
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ConfigError(f"{url}: the key would travel in the clear", hint="Use https, or an SSH tunnel.")
        try:
            key = key_file.read_text().strip() if key_file else os.environ.get(KEY_VARIABLE, "")
        except OSError as error:
            raise ConfigError(f"{key_file}: {error.strerror}", hint="Name a readable file with --key-file.") from error
        if not key or not key.isascii() or not key.isprintable():
            raise ConfigError("no key is given", hint=f"Name its file with --key-file, or set {KEY_VARIABLE}.")
        return cls(url.rstrip("/"), key)

    def get(self, path: str, **query: object) -> Any:  # noqa: ANN401  any JSON
        """What the door says at a path; parameters that are None are left out. Raises: DoorRefused, DoorUnreachable."""
        with self._ask("GET", _with_query(path, query)) as response:
            return json.loads(response.read())

    def live(self, path: str, *, after: int) -> Iterator[str]:
        """The text of each event above a number as it is journalled, without end: a connection that ends is made again.

        Raises: DoorRefused, DoorUnreachable for a first connection that fails.
        """
        is_first = True
        while True:
            try:
                with self._ask("GET", _with_query(path, {"after": after})) as response:
                    is_first = False
                    for number, text in _frames(response):
                        yield text
                        after = number
            except (DoorUnreachable, DoorRefused) as error:
                is_passing = isinstance(error, DoorUnreachable) or error.status in _PASSING
                if is_first or not is_passing:
                    raise
            except (OSError, http.client.HTTPException):
                pass  # the connection broke
            time.sleep(AGAIN_S)

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, method: Literal["POST", "DELETE"] = "POST"
    ) -> Mapping[str, Any]:
        """Have an act done and give its result. Raises: DoorRefused, DoorUnreachable, RequestPending."""
        with self._ask(method, path, body) as response:
            done = json.loads(response.read())
            where = response.headers["location"] if response.status == _LATER else None
        deadline = time.monotonic() + PATIENCE_S
        while where is not None and done["settled_at"] is None:
            if time.monotonic() > deadline:
                raise RequestPending(f"the daemon has not settled request {done['id']} ({done['kind']})")
            time.sleep(0.2)
            done = self.get(where)
        result: Mapping[str, Any] = done["result"] or {}
        if not done["ok"]:
            raise DoorRefused(409, {"detail": result.get("error"), "hint": result.get("hint")})
        return result

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> http.client.HTTPResponse:
        parts = urllib.parse.urlsplit(self.url)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_S)
        headers = {"Authorization": f"Bearer {self.key}", "Connection": "close"}
        headers |= {} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, parts.path + path, body=data, headers=headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise DoorUnreachable(f"no door answers at {self.url}: {error}") from error
        if response.status >= http.client.BAD_REQUEST:
            with response:
                raise DoorRefused(response.status, _problem(response.read()))
        return response


def _frames(response: http.client.HTTPResponse) -> Iterator[tuple[int, str]]:
    """Server-sent events with an id, each with its data, until the connection ends or the door says that it does.

    Source: WHATWG HTML, "Server-sent events"; the door writes one line of data an event.
    """
    number = -1
    for line in response:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            number = int(value)
        elif name == "event":  # dropped, or closing
            return
        elif name == "data" and number >= 0:
            yield number, value


def _problem(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _with_query(path: str, query: Mapping[str, object]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urllib.parse.urlencode(given)}" if given else path
