"""Sink `webhook` against real servers: what arrives, what each answer does, what misbehaviour costs."""

import asyncio
import base64
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks import Webhook, WebhookVerificationError

import bridge
from bridge.config.sinks import WebhookConfig
from bridge.errors import BridgeError, ConfigError, SinkGone, SinkRefused, SinkUnavailable
from bridge.parcel import Message, Parcel
from bridge.sinks.webhook import WebhookSink
from tests import receivers
from tests.parcels import messages
from tests.receivers import Received, Receiver

FIELDS = pa.schema([pa.field("order_id", pa.large_string()), pa.field("note", pa.large_string())])
ONE, TWO, THREE = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2, 3))


def parcel_of(*keys: str, first: int = 1, note: str = "n") -> Parcel:
    """One event a key, numbered from `first`."""
    cells = {first + n: {"_key": key, "order_id": key, "note": note} for n, key in enumerate(keys)}
    return messages(list(cells), fields=FIELDS, change=cells)


def make_sink(url: str, *, public_url: str | None = None, **keys: Any) -> WebhookSink:  # noqa: ANN401  the same
    settings: dict[str, object] = {
        "url": url,
        "secrets": [ONE],
        "allow_networks": ["127.0.0.0/8"],
        "timeout_s": 5.0,
    } | keys
    return WebhookSink("crm", WebhookConfig.model_validate(settings), concurrency=8, public_url=public_url)


def send(sink: WebhookSink, *parcels: Parcel) -> list[Mapping[int, BridgeError]]:
    async def run() -> list[Mapping[int, BridgeError]]:
        await sink.open()
        try:
            return [await sink.send(parcel) for parcel in parcels]
        finally:
            await sink.close()

    return asyncio.run(run())


def fate(server: Receiver, **keys: Any) -> BridgeError | None:  # noqa: ANN401  values of a configuration
    """What becomes of one event."""
    try:
        send(make_sink(server.url, **keys), parcel_of("A-1"))
    except BridgeError as error:
        return error
    return None


def is_genuine(request: Received, secret: str) -> bool:
    try:
        Webhook(secret).verify(request.body, dict(request.headers), json_parse=False)
    except WebhookVerificationError:
        return False
    return True


# ---- what arrives


@pytest.mark.parametrize("form", ["structured", "binary"])
@pytest.mark.parametrize("key", ["A-1", "Müller & Söhne, 50 %", 'two\r\nlines"', "x" * 500])
def test_the_sdk_reads_what_was_sent_and_the_reference_library_verifies_it(form: str, key: str) -> None:
    parcel = parcel_of(key, note="größer")
    with Receiver() as server:
        send(make_sink(server.url, format=form, secrets=[ONE, TWO]), parcel)
    (request,) = server.received
    event = from_http_event(HTTPMessage(dict(request.headers), request.body))
    sent = json.loads(parcel.messages[0].text)
    assert {name: event.get_attributes()[name] for name in sent if name not in {"data", "time"}} == {
        name: value for name, value in sent.items() if name not in {"data", "time"}
    }
    assert event.get_data() == sent["data"] == {"order_id": key, "note": "größer"}
    assert is_genuine(request, ONE)
    assert is_genuine(request, TWO)
    assert not is_genuine(request, THREE)


def test_the_commands_of_the_docs_make_the_signature_that_was_sent(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "sinks-webhook.md").read_text()
    recipe = page.split("```sh\n")[1].split("```")[0]
    with Receiver() as server:
        send(make_sink(server.url), parcel_of("A-1"))
    (request,) = server.received
    (tmp_path / "body").write_bytes(request.body)
    names = {"WEBHOOK_ID": "webhook-id", "WEBHOOK_TIMESTAMP": "webhook-timestamp"}
    environ = {"PATH": os.environ["PATH"], "SECRET": ONE} | {name: request.headers[of] for name, of in names.items()}
    made = subprocess.run(["bash", "-c", recipe], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert f"v1,{made.stdout.strip()}" == request.headers["webhook-signature"]


def test_a_batch_is_one_request_that_the_sdk_reads_event_by_event() -> None:
    parcel = parcel_of("A-1", "A-2", "A-1")
    with Receiver() as server:
        assert send(make_sink(server.url, format="batch"), parcel, parcel, parcel_of("A-1")) == [{}, {}, {}]
    first, again, single = server.received
    assert first.headers["content-type"] == "application/cloudevents-batch+json; charset=UTF-8"
    events = [JSONFormat().read(None, json.dumps(one)) for one in json.loads(first.body)]
    assert [event.get_id() for event in events] == [message.id for message in parcel.messages]
    assert is_genuine(first, ONE)
    assert first.headers["webhook-id"] == again.headers["webhook-id"] != single.headers["webhook-id"]
    assert single.headers["webhook-id"] == parcel.messages[0].id


def test_a_request_says_who_sends_it_and_what_it_is() -> None:
    parcel = parcel_of("A-1")
    with Receiver() as server:
        send(make_sink(server.url), parcel)
    (request,) = server.received
    assert (request.method, request.path) == ("POST", "/hook")
    assert request.headers["user-agent"] == f"legacy-bridge/{bridge.__version__}"
    assert request.headers["webhook-id"] == parcel.messages[0].id
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 300
    assert "traceparent" not in request.headers


def test_the_trace_of_an_event_goes_along_as_a_header() -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    text = parcel_of("A-1").messages[0].text.replace(b'"source"', b'"traceparent":"%b","source"' % parent.encode())
    with Receiver() as server:
        send(make_sink(server.url), Parcel("orders", (Message(1, "orders:1:1:1", "A-1", text),)))
    assert server.received[0].headers["traceparent"] == parent


@pytest.mark.parametrize("form", ["structured", "binary", "batch"])
def test_a_large_event_goes_as_a_link(form: str) -> None:
    with Receiver() as server:
        sink = make_sink(server.url, format=form, body_limit_kilobytes=1, public_url="https://bridge.example/")
        assert send(sink, parcel_of("A-1", first=17, note="x" * 2000)) == [{}]
    (request,) = server.received
    link = "https://bridge.example/v1/streams/orders/events/17"
    assert link in (request.body.decode() or request.headers["ce-dataref"])
    assert b"xxx" not in request.body
    assert is_genuine(request, ONE)


def test_a_large_event_without_a_public_url_is_refused_alone_with_what_to_set() -> None:
    events = (
        *parcel_of("A-1").messages,
        *parcel_of("A-2", first=2, note="x" * 2000).messages,
        *parcel_of("A-3", first=3).messages,
    )
    with Receiver() as server:
        (failures,) = send(make_sink(server.url, body_limit_kilobytes=1), Parcel("orders", events))
        with pytest.raises(SinkRefused):
            send(make_sink(server.url, body_limit_kilobytes=1, format="batch"), Parcel("orders", events))
    (error,) = failures.values()
    assert isinstance(error, SinkRefused)
    assert "public_url" in error.hint
    assert server.ids == [events[0].id, events[2].id]


# ---- what an answer does


def test_a_refused_event_is_refused_alone() -> None:
    def script(request: Received) -> receivers.Act:
        return receivers.reply(422) if b'"subject":"A-1"' in request.body else receivers.OK

    with Receiver(script) as server:
        (failures,) = send(make_sink(server.url), parcel_of("A-1", "A-2", "A-3"))
    assert {index: type(error) for index, error in failures.items()} == {0: SinkRefused}
    assert len(server.received) == 3


def test_a_receiver_that_fails_in_the_middle_gets_nothing_more() -> None:
    with Receiver([receivers.OK, receivers.reply(500), receivers.OK]) as server:
        (failures,) = send(make_sink(server.url), parcel_of("A-1", "A-2", "A-3"))
    assert {index: type(error) for index, error in failures.items()} == {1: SinkUnavailable, 2: SinkUnavailable}
    assert len(server.received) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_e3_a_redirect_to_loopback_is_a_failure_and_is_not_followed(status: int) -> None:
    with Receiver() as secret, Receiver([receivers.redirect(status, secret.url)]) as server:
        error = fate(server)
        assert isinstance(error, SinkUnavailable)
        assert "redirect refused" in error.detail
        assert secret.connections == 0


def test_e4_gone_is_said_to_be() -> None:
    with Receiver([receivers.reply(410, body=b"secret words")]) as server:
        error = fate(server)
        assert isinstance(error, SinkGone)
        assert "secret words" not in f"{error.detail} {error.hint}"
        assert len(server.received) == 1


@pytest.mark.parametrize("as_date", [False, True])
def test_a_receiver_is_left_alone_for_as_long_as_it_asks(as_date: bool) -> None:  # noqa: FBT001  a parameter of pytest
    with Receiver([receivers.retry_after(503 if as_date else 429, seconds=120, as_date=as_date)]) as server:
        error = fate(server)
        assert isinstance(error, SinkUnavailable)
        assert error.retry_after_s == pytest.approx(120, abs=10)


MISBEHAVIOUR: dict[str, receivers.Act] = {
    "500": receivers.reply(500),
    "502": receivers.reply(502),
    "half-open": receivers.silence,
    "slow-loris": receivers.SLOW_HEADERS,
    "reset": receivers.reset,
    "dropped after storing": receivers.drop,
    "not HTTP": receivers.raw(b"220 mail.example ESMTP\r\n"),
}


@pytest.mark.parametrize("act", MISBEHAVIOUR.values(), ids=MISBEHAVIOUR)
def test_e2_whatever_a_receiver_does_the_event_is_tried_again(act: receivers.Act) -> None:
    with Receiver([act]) as server:
        error = fate(server, timeout_s=0.5)
        assert isinstance(error, SinkUnavailable)
        assert "mail.example" not in error.detail


@pytest.mark.parametrize("act", [receivers.endless, receivers.bomb(), receivers.SLOW_BODY])
def test_an_answer_that_is_too_much_is_a_success_by_its_status(act: receivers.Act) -> None:
    with Receiver([act]) as server:
        assert fate(server, timeout_s=3.0) is None  # its head has to come in this time, on a busy machine too


def test_e2_a_receiver_that_hangs_does_not_slow_another() -> None:
    async def run(hanging: Receiver, good: Receiver) -> None:
        stuck = make_sink(hanging.url, timeout_s=30)
        other = make_sink(good.url)
        waiting = [asyncio.create_task(stuck.send(parcel_of(f"H-{n}"))) for n in range(8)]
        await asyncio.to_thread(hanging.wait_for, 8)
        for n in range(50):
            assert await other.send(parcel_of(f"A-{n}")) == {}
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        await stuck.close()
        await other.close()

    with Receiver([receivers.silence]) as hanging, Receiver() as good:
        asyncio.run(run(hanging, good))
        assert len(good.received) == 50


def test_e5_an_event_stored_before_the_answer_was_lost_comes_again_with_the_same_id() -> None:
    parcels = [parcel_of(f"A-{n}", first=n) for n in range(1, 6)]

    async def run(sink: WebhookSink) -> None:
        for parcel in parcels:
            while True:
                try:
                    await sink.send(parcel)
                    break
                except SinkUnavailable:
                    continue
        await sink.close()

    with Receiver([receivers.drop, receivers.reset, *[receivers.OK, receivers.drop] * 4, receivers.OK]) as server:
        asyncio.run(run(make_sink(server.url)))
        assert set(server.distinct) == {parcel.messages[0].id for parcel in parcels}
        assert max(server.distinct.values()) > 1
        bodies = {request.headers["webhook-id"]: request.body for request in server.received}
        assert [bodies[request.headers["webhook-id"]] for request in server.received] == [
            request.body for request in server.received
        ]


def test_e9_secrets_rotated_under_load_are_refused_by_no_verifier(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text(ONE)
    new.write_text(ONE)
    steps: list[Callable[[], object]] = [lambda: new.write_text(TWO), lambda: old.write_text(TWO)]

    async def run(sink: WebhookSink) -> None:
        for number in range(1, 91):
            if number % 30 == 0 and steps:
                steps.pop(0)()
            await asyncio.gather(*(sink.send(parcel_of(f"A-{number}-{lane}")) for lane in range(4)))
        await sink.close()

    with Receiver() as server:
        asyncio.run(run(make_sink(server.url, secrets=[f"${{file:{old}}}", f"${{file:{new}}}"])))
    by_old = [is_genuine(request, ONE) for request in server.received]
    by_new = [is_genuine(request, TWO) for request in server.received]
    assert len(server.received) == 360
    assert all(one or other for one, other in zip(by_old, by_new, strict=True)), "a request no verifier takes"
    assert any(one and other for one, other in zip(by_old, by_new, strict=True)), "no overlap"
    assert (by_old[0], by_new[0], by_old[-1], by_new[-1]) == (True, False, False, True)


WEAK = ["whsec_c2hvcnQ=", f"whpk_{base64.b64encode(b'p' * 32).decode()}"]


@pytest.mark.parametrize("content", ["", *WEAK])
def test_a_secret_that_turned_bad_makes_events_wait_and_is_not_shown(tmp_path: Path, content: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text(ONE)
    with Receiver() as server:
        sink = make_sink(server.url, secrets=[f"${{file:{secret}}}"])
        secret.write_text(content)
        with pytest.raises(SinkUnavailable) as caught:
            send(sink, parcel_of("A-1"))
        assert server.connections == 0
    assert "c2hvcnQ" not in f"{caught.value.detail} {caught.value.hint}"


@pytest.mark.parametrize("secret", WEAK)
def test_a_secret_that_is_none_is_refused_when_the_sink_is_made(secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_sink("https://crm.example/", secrets=[ONE, secret])
    assert secret not in f"{caught.value.detail} {caught.value.hint}"


def test_a_secret_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    with Receiver() as server:
        sink = make_sink(server.url, secrets=[f"${{file:{tmp_path / 'secret'}}}"])
        (tmp_path / "secret").write_text(ONE)
        assert send(sink, parcel_of("A-1")) == [{}]


def test_a_blocked_address_makes_events_wait_and_names_the_key_to_set() -> None:
    with Receiver() as server:
        error = fate(server, allow_networks=[])
        assert isinstance(error, SinkUnavailable)
        assert "allow_networks" in error.hint
        assert server.connections == 0


@pytest.mark.parametrize(
    "url", ["http://user:pw@crm.example/", "ftp://crm.example/", "crm.example", "https://crm.example/#x", "https:///x"]
)
def test_a_url_of_another_kind_is_refused_with_the_configuration(url: str) -> None:
    with pytest.raises(ValueError, match="an https URL"):
        make_sink(url)


def test_a_url_that_only_a_parser_sees_through_is_refused_when_the_sink_is_made() -> None:
    with pytest.raises(ConfigError):
        make_sink("https://crm.example:99999/")
