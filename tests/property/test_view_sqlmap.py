"""F-2: sqlmap, which finds SQL injections, asks for views whose parameter comes from whoever asks.

It is given what an attacker would have: a page that says what the parameter finds, and every error as it is.
Source: sqlmap 1.7.2, its options by `sqlmap -hh`.
"""

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from bridge.extraction.extractor import Question
from bridge.sources.view.extractor import ViewExtractor
from bridge.sources.view.parameters import read_parameter
from tests import machine
from tests.typed import Given, Ground, Typed, view_of

SQLMAP = shutil.which("sqlmap")
SAFE, OPEN = "all tested parameters do not appear to be injectable", "is vulnerable"
ROWS = ("open", "closed", "it's")

Answer = Callable[[str], str]


@pytest.fixture(autouse=True)
def _sqlmap() -> None:
    machine.require(SQLMAP, "sqlmap is not installed")


@pytest.fixture
def asked(ground: Ground) -> Iterator[Ground]:
    """A table of a few rows by their state."""
    text = ground.types["text"]
    ground.fill("asked", {"state": Typed(text.sql, text.values, text.put)}, [[Given(row, row)] for row in ROWS])
    yield ground
    ground.run(f"DROP TABLE {ground.quote('asked')}")


def by_view(ground: Ground, answers: contextlib.ExitStack) -> Answer:
    """The rows that a view with a parameter finds."""
    session = answers.enter_context(contextlib.closing(ground.session()))
    sql = f"SELECT {ground.quote('id')} FROM {ground.named('asked')} WHERE {ground.quote('state')} = :state"

    def answer(state: str) -> str:
        view = view_of("", sql=sql, parameters=(read_parameter("state text").given(state),))
        page = ViewExtractor("any", session, {"s": view}, dialect=ground.dialect).page(Question("s", 100))
        return str(page.columns.to_pylist())

    return answer


def by_paste(ground: Ground, _answers: contextlib.ExitStack) -> Answer:
    """The same, as somebody writes it who has not heard of parameters."""

    def answer(state: str) -> str:
        where = f"{ground.quote('state')} = '{state}'"
        return str(ground.run(f"SELECT {ground.quote('id')} FROM {ground.quote('asked')} WHERE {where}"))

    return answer


@contextlib.contextmanager
def served(answer: Answer) -> Iterator[str]:
    """A page with the answer to `state`, or with the error; one request at a time. Yields its address."""
    alone = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state = parse_qs(urlsplit(self.path).query, keep_blank_values=True).get("state", [""])[0]
            with alone:
                try:
                    status, said = 200, answer(state)
                except Exception as error:  # noqa: BLE001  an attacker reads all of them
                    status, said = 500, f"{type(error).__name__}: {error}"
            body = f"<html><body><p>found</p><pre>{said}</pre></body></html>".encode(errors="replace")
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/?state=open"
        server.shutdown()
        thread.join()


def attacked(url: str, folder: Path, *how: str) -> str:
    """What sqlmap says of a page."""
    command = [str(SQLMAP), "-u", url, "--batch", "--flush-session", "--output-dir", str(folder), *how]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600).stdout


def check(ground: Ground, folder: Path, *how: str) -> None:
    """Nothing is found in the view's parameter, and something where the same query is pasted together."""
    for made, verdict in ((by_view, SAFE), (by_paste, OPEN)):
        with contextlib.ExitStack() as answers:
            answer = made(ground, answers)
            assert ("0" in answer("open"), "1" in answer("open")) == (True, False), "it works for who means no harm"
            with served(answer) as url:
                said = attacked(url, folder / made.__name__, *how)
        assert verdict in said, said[-3000:]


def test_sqlmap_finds_no_way_into_a_parameter(asked: Ground, tmp_path: Path) -> None:
    check(asked, tmp_path, "--technique=BEU")


@pytest.mark.soak
def test_sqlmap_finds_no_way_into_a_parameter_however_long_it_tries(asked: Ground, tmp_path: Path) -> None:
    """Stacked statements and delays, too, in every way that it knows."""
    check(asked, tmp_path, "--level=5", "--risk=3", "--time-sec=2")
