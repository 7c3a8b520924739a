"""Spans per batch: what they say, what they link to, and that nothing is there without an SDK."""

from collections.abc import Iterator

import pyarrow as pa
import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from bridge import tracing
from bridge.errors import SinkUnavailable
from bridge.model import Op, RawBatch
from bridge.parcel import Message, Parcel
from tests.shelf import raw, window

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Where spans go, with an SDK at work."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(tracing, "tracer", provider.get_tracer("bridge"))
    monkeypatch.setattr(tracing, "SPANS", tracing.Spans())
    yield exporter
    provider.shutdown()


def parcel(first: int, last: int) -> Parcel:
    return Parcel("item", tuple(Message(at, f"item:1:{at:X}:0", "secret key", b"{}") for at in range(first, last + 1)))


def noted(*traceparents: str | None) -> RawBatch:
    """Created rows that came in with these."""
    batch = raw(*((Op.CREATE, number, 1) for number in range(len(traceparents))))
    column = batch.changes.schema.get_field_index("_note")
    notes = [tracing.note(each) for each in traceparents]
    changes = batch.changes.set_column(column, "_note", pa.array(notes, pa.large_string()))
    return RawBatch(batch.stream, batch.shape, changes, batch.columns)


def test_a_batch_is_one_span_that_links_to_the_traces_its_changes_came_in_with(spans: InMemorySpanExporter) -> None:
    with tracing.processing(window(noted(TRACEPARENT, None, TRACEPARENT), at=1)) as given:
        given["item"] = (7, 9)
    (span,) = spans.get_finished_spans()
    assert (span.name, span.kind) == ("process item", SpanKind.CONSUMER)
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 3
    assert (span.attributes["bridge.sequence.first"], span.attributes["bridge.sequence.last"]) == (7, 9)
    assert [trace.format_trace_id(link.context.trace_id) for link in span.links] == [TRACE]


def test_a_parcel_is_one_span_that_links_to_where_its_events_were_journalled(spans: InMemorySpanExporter) -> None:
    for first in (1, 11, 21):
        with tracing.processing(window(raw((Op.CREATE, first, 1)), at=first)) as given:
            given["item"] = (first, first + 9)
    journalled = [span.context.span_id for span in spans.get_finished_spans() if span.context]
    spans.clear()
    with tracing.sending("crm", "amqp", parcel(15, 21)):
        sent = tracing.headers()
    (span,) = spans.get_finished_spans()
    assert (span.name, span.kind) == ("send crm", SpanKind.PRODUCER)
    assert [link.context.span_id for link in span.links] == journalled[1:]
    assert span.context is not None
    assert sent["traceparent"].split("-")[1:3] == [
        trace.format_trace_id(span.context.trace_id), trace.format_span_id(span.context.span_id),
    ]  # fmt: skip
    assert span.attributes is not None
    assert (span.attributes["messaging.system"], span.attributes["messaging.batch.message_count"]) == ("rabbitmq", 7)


def test_a_failed_call_shows_its_code_and_nothing_of_the_event(spans: InMemorySpanExporter) -> None:
    with (
        pytest.raises(SinkUnavailable),
        tracing.sending("crm", "webhook", parcel(10, 10)),
    ):
        raise SinkUnavailable("no answer to secret key")
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == SinkUnavailable.code
    assert span.attributes["cloudevents.event_id"] == "item:1:A:0"
    assert "secret" not in span.to_json()


def test_without_an_sdk_nothing_is_made_and_nothing_sent_along() -> None:
    assert not tracing.is_on()
    with tracing.processing(window(noted(TRACEPARENT), at=1)) as given, tracing.sending("crm", "amqp", parcel(1, 1)):
        assert tracing.headers() == {}
        assert not trace.get_current_span().get_span_context().is_valid
    assert given == {}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"},
    ],
    ids=["nothing", "none", "disabled"],
)
def test_nothing_is_set_up_unless_the_environment_asks(environment: dict[str, str]) -> None:
    tracing.set_up(environment)()
    assert not tracing.is_on()


@pytest.mark.parametrize(
    ("environment", "name"),
    [({}, "legacy-bridge"), ({"OTEL_SERVICE_NAME": "bridge-eu"}, "bridge-eu")],
    ids=["ours", "the operator's"],
)
def test_the_environment_alone_sets_it_up(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], name: str
) -> None:
    providers: list[TracerProvider] = []
    monkeypatch.setattr(trace, "set_tracer_provider", providers.append)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    with structlog.testing.capture_logs() as lines:
        tracing.set_up({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **environment})()
    assert providers[0].resource.attributes["service.name"] == name
    assert [line["event"] for line in lines] == ["tracing.started"]


def test_a_missing_extra_is_said_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with structlog.testing.capture_logs() as lines:
        tracing.set_up({"OTEL_TRACES_EXPORTER": "otlp"})()
    assert [line["event"] for line in lines] == ["tracing.unavailable"]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "hello",
        TRACEPARENT.upper(),
        f"{TRACEPARENT}\n",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"01{TRACEPARENT[2:]}",
    ],
)
def test_what_is_no_traceparent_is_not_carried(text: str | None) -> None:
    assert tracing.note(text) is None


def test_spans_are_remembered_within_bounds() -> None:
    spans = tracing.Spans()
    context = trace.SpanContext(1, 1, is_remote=False)
    for number in range(2000):
        spans.remember("item", number, number, span=context)
    assert spans.links("item", 0, 100) == []
    assert len(spans.links("item", 0, 2000)) == tracing.LINKS_LIMIT
