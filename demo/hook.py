"""A webhook receiver that somebody else might have written: verifies each request, notes it, says yes.

`python -m demo.hook --port P --file FILE` with the secret in DEMO_HOOK_SECRET. A request that is not signed right is
refused. The event is in the file, flushed to the operating system, before the answer goes out. Shares no code with the
bridge: this is all that a receiver of Standard Webhooks needs.
"""

import argparse
import base64
import hmac
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOLERANCE_S = 300
LONGEST_BODY = 32 * 1024 * 1024


def is_signed(headers: "dict[str, str]", body: bytes, secret: str) -> bool:
    """Whether one of the signatures is ours and the request is not old. Source: Standard Webhooks 1.0.0."""
    sent = headers.get("webhook-timestamp", "")
    if not sent.isdigit() or abs(time.time() - int(sent)) > TOLERANCE_S:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers.get('webhook-id', '')}.{sent}.".encode() + body
    ours = base64.b64encode(hmac.digest(key, content, "sha256")).decode()
    return any(hmac.compare_digest(f"v1,{ours}", theirs) for theirs in headers.get("webhook-signature", "").split())


def serve(port: int, file: Path, secret: str) -> None:
    """Take requests until the process ends."""
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Take one event in."""
            length = int(self.headers.get("content-length", "0"))
            body = self.rfile.read(min(length, LONGEST_BODY))
            headers = {name.lower(): value for name, value in self.headers.items()}
            is_ours = length <= LONGEST_BODY and is_signed(headers, body, secret)
            if is_ours:
                with turn, file.open("ab") as noted:
                    noted.write(body + b"\n")
            self.send_response(204 if is_ours else 401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def main() -> None:
    """Run from the command line."""
    arguments = argparse.ArgumentParser(prog="demo.hook", description="Receive signed webhooks.")
    arguments.add_argument("--port", type=int, required=True, help="where to listen, on this machine only")
    arguments.add_argument("--file", type=Path, required=True, help="where events are noted, one a line")
    given = arguments.parse_args()
    serve(given.port, given.file, os.environ["DEMO_HOOK_SECRET"])


if __name__ == "__main__":
    main()
