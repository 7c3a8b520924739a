"""Problem documents: RFC 9457, the same for every fault, and nothing in them that is not for the caller."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from bridge.errors import Declined, JournalUnavailable
from bridge.web.problems import KINDS, Problem, Problems, page

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
DOCS = Path(__file__).parents[2] / "docs" / "problems.md"


def answer_to(error: Exception, *, headers: tuple[tuple[bytes, bytes], ...] = ()) -> tuple[int, dict[str, str], Any]:
    """Status, headers and document that an application which raises gives."""

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/v1/streams/x", "headers": list(headers)}
    asyncio.run(Problems(app)(scope, receive, send))
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, json.loads(sent[1]["body"])


def test_a_problem_is_a_complete_document() -> None:
    traced = (b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())
    status, headers, document = answer_to(
        Problem(404, "not-found", "There is no stream x.", headers={"x-y": "z"}, stream="x"), headers=(traced,)
    )
    assert (status, headers["content-type"], headers["x-y"]) == (404, "application/problem+json", "z")
    assert document == {
        "type": "/problems/not-found",
        "title": "No such thing",
        "status": 404,
        "detail": "There is no stream x.",
        "instance": "/v1/streams/x",
        "trace_id": TRACE,
        "stream": "x",
    }


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (HTTPException(405), 405, "method-not-allowed"),
        (HTTPException(418), 418, "invalid-request"),
        (Declined("not now"), 409, "declined"),
        (JournalUnavailable("the disk is full"), 503, "unavailable"),
        (ValueError("secret"), 500, "internal"),
    ],
)
def test_every_fault_has_a_type(error: Exception, status: int, slug: str) -> None:
    found, _, document = answer_to(error)
    assert (found, document["type"]) == (status, f"/problems/{slug}")
    assert "secret" not in json.dumps(document)


def test_a_trace_id_that_is_none_is_replaced() -> None:
    document = answer_to(Problem(404, "not-found", "x"), headers=((b"traceparent", b"<script>"),))[2]
    assert len(document["trace_id"]) == 32


def test_a_type_of_somebody_elses_registry_is_named_as_there() -> None:
    assert answer_to(Problem(429, "quota-exceeded", "slow down"))[2]["type"].startswith("https://iana.org/")


def test_every_type_has_a_page_and_stands_in_the_documentation() -> None:
    text = DOCS.read_text()
    for slug, kind in KINDS.items():
        assert kind.meaning in page(slug)
        assert f"| `{slug}` | {kind.title} | {kind.meaning}" in text
    with pytest.raises(Problem):
        page("../../etc/passwd")
