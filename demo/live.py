"""A live reader: follows every stream over server-sent events and notes what comes, as a dashboard would.

`python -m demo.live --url URL --file FILE STREAM...` with the key in DEMO_LIVE_KEY. A connection that ends is taken up
where it ended, by `Last-Event-ID`. Shares no code with the bridge.
"""

import argparse
import http.client
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

AGAIN_S = 0.1
TIMEOUT_S = 30.0  # heartbeats come more often


class Reader:
    """Follows one stream for ever."""

    def __init__(self, url: str, stream: str, *, file: Path, turn: threading.Lock, key: str) -> None:
        self._address = urlsplit(url)
        self._path = f"/v1/streams/{stream}/events/live"
        self._file = file
        self._turn = turn
        self._key = key
        self._last = "0"  # the id of the last event noted; 0: from the beginning

    def run(self) -> None:
        """Read, and again when the connection ends."""
        while True:
            with suppress(OSError, http.client.HTTPException):
                self._follow()
            time.sleep(AGAIN_S)

    def _follow(self) -> None:
        connection = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=TIMEOUT_S)
        headers = {"authorization": f"Bearer {self._key}", "accept": "text/event-stream", "last-event-id": self._last}
        connection.request("GET", self._path, headers=headers)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            connection.close()
            return
        number, data = "", b""
        while line := answer.readline():
            name, _, value = line.rstrip(b"\r\n").partition(b":")
            value = value.removeprefix(b" ")
            if name == b"id":
                number = value.decode()
            elif name == b"data":
                data += value
            elif not line.strip():
                if data and number:
                    self._note(data)
                    self._last = number
                number, data = "", b""

    def _note(self, event: bytes) -> None:
        with self._turn, self._file.open("ab") as noted:
            noted.write(event + b"\n")


def main() -> None:
    """Run from the command line."""
    arguments = argparse.ArgumentParser(prog="demo.live", description="Follow streams over server-sent events.")
    arguments.add_argument("--url", required=True, help="the bridge's door")
    arguments.add_argument("--file", type=Path, required=True, help="where events are noted, one a line")
    arguments.add_argument("streams", nargs="+", help="streams to follow")
    given = arguments.parse_args()
    turn, key = threading.Lock(), os.environ["DEMO_LIVE_KEY"]
    readers = [Reader(given.url, stream, file=given.file, turn=turn, key=key) for stream in given.streams]
    threads = [threading.Thread(target=reader.run) for reader in readers]
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main()
