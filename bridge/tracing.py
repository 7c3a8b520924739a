"""OpenTelemetry spans: one per batch, never per row. Free while no SDK is there.

- `process STREAM`: a batch is judged and journalled; links to the traces its changes came in with.
- `send SINK`: a parcel goes to a receiver; links to the spans that journalled its events.
- `METHOD ROUTE`: a request of the HTTP door (`bridge.web.accesslog`).

Only the API is a dependency; the extra `otel` brings the SDK, `OTEL_*` variables of the environment configure it and
nothing else does. No key, row value or secret is an attribute. Names as in the semantic conventions for messaging 1.44.
"""

import json
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import pyarrow as pa
import structlog
from opentelemetry import context, propagate, trace
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from bridge import __version__
from bridge.model import Window
from bridge.parcel import Parcel

SERVICE_NAME = "legacy-bridge"
LINKS_LIMIT = 64  # of one span
_REMEMBERED = 512  # latest batches of a stream whose spans can be linked to
_SYSTEMS = {"amqp": "rabbitmq"}
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

tracer = trace.get_tracer("bridge", __version__)
_log = structlog.get_logger()


def set_up(environment: Mapping[str, str] = os.environ) -> Callable[[], None]:
    """Start the SDK where the environment asks for it; returns what sends the last spans and ends it.

    It is asked for by `OTEL_TRACES_EXPORTER` (otlp, console) or an OTLP endpoint. Without the extra `otel` a warning is
    logged and nothing is traced.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    is_off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none"
    if is_off or not (exporter or any(environment.get(name) for name in endpoints)):
        return _nothing
    try:
        return _start(exporter, environment)
    except ImportError:
        _log.warning("tracing.unavailable", hint="Install legacy-bridge[otel], or unset OTEL_TRACES_EXPORTER.")
        return _nothing


def _nothing() -> None:
    return None


def _start(exporter: str, environment: Mapping[str, str]) -> Callable[[], None]:
    # The SDK is an extra, and slow to import.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter  # noqa: PLC0415

    is_named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    ours = {"service.version": __version__} | ({} if is_named else {"service.name": SERVICE_NAME})
    provider = TracerProvider(resource=Resource.create(ours), shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(ConsoleSpanExporter() if exporter == "console" else OTLPSpanExporter())
    )
    trace.set_tracer_provider(provider)
    _log.info("tracing.started", exporter=exporter or "otlp")
    return provider.shutdown


def is_on() -> bool:
    """Whether spans go anywhere."""
    return not isinstance(trace.get_tracer_provider(), (trace.ProxyTracerProvider, trace.NoOpTracerProvider))


class Spans:
    """Which spans journalled which events, for links; the latest only. Callable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: dict[str, deque[tuple[int, int, SpanContext]]] = {}

    def remember(self, stream: str, first: int, last: int, *, span: SpanContext) -> None:
        """The events from `first` to `last` were journalled within this span."""
        with self._lock:
            self._spans.setdefault(stream, deque(maxlen=_REMEMBERED)).append((first, last, span))

    def links(self, stream: str, first: int, last: int) -> list[Link]:
        """Links to the spans that journalled events between these numbers, as far as they are remembered."""
        with self._lock:
            spans = tuple(self._spans.get(stream, ()))
        return [Link(span) for begin, end, span in spans if begin <= last and end >= first][-LINKS_LIMIT:]


SPANS = Spans()  # of this process, as the tracer provider is


@contextmanager
def processing(window: Window) -> Iterator[dict[str, tuple[int, int]]]:
    """Spans over judging and journalling a window, one a batch.

    Yields: a dictionary to put the numbers into that the journal gave, by stream.
    """
    given: dict[str, tuple[int, int]] = {}
    if not is_on():
        yield given
        return
    with ExitStack() as stack:
        spans = {}
        for raw in window.batches:
            attributes: dict[str, str | int] = {
                "messaging.system": "legacy_bridge",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": raw.stream,
                "messaging.batch.message_count": raw.row_count,
            }
            came_with = [Link(found) for found in _contexts(raw.changes.column("_note"))]
            span = _span(f"process {raw.stream}", kind=SpanKind.CONSUMER, attributes=attributes, links=came_with)
            spans[raw.stream] = stack.enter_context(span)
        yield given
        for stream, (first, last) in given.items():
            if stream in spans:
                spans[stream].set_attributes({"bridge.sequence.first": first, "bridge.sequence.last": last})
                SPANS.remember(stream, first, last, span=spans[stream].get_span_context())


@contextmanager
def sending(sink: str, kind: str, parcel: Parcel) -> Iterator[None]:
    """A span over one call to a receiver; within it, `headers` says what goes along. An exception ends it in error.

    Args:
        sink: its name.
        kind: "webhook", "amqp", ...
        parcel: what is sent; the id of a single event is shown, and no other attribute of it.
    """
    if not is_on():
        yield
        return
    attributes: dict[str, str | int] = {
        "messaging.system": _SYSTEMS.get(kind, kind),
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": sink,
        "messaging.batch.message_count": parcel.count,
        "bridge.stream": parcel.stream,
    }
    if len(parcel.messages) == 1:
        attributes["cloudevents.event_id"] = parcel.messages[0].id
        attributes["cloudevents.event_spec_version"] = "1.0"
    numbers = [message.number for message in parcel.messages] if parcel.rows is None else parcel.rows.numbers
    links = SPANS.links(parcel.stream, int(numbers[0]), int(numbers[-1]))
    with _span(f"send {sink}", kind=SpanKind.PRODUCER, attributes=attributes, links=links):
        yield


@contextmanager
def _span(
    name: str, *, kind: SpanKind, attributes: Mapping[str, str | int], links: Sequence[Link]
) -> Iterator[trace.Span]:
    """A span of a trace of its own; an exception shows by its code only, since its text may name what was sent."""
    with tracer.start_as_current_span(
        name, context=context.Context(), kind=kind, attributes=attributes, links=links,
        record_exception=False, set_status_on_exception=False,
    ) as span:  # fmt: skip
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", getattr(error, "code", type(error).__qualname__))
            span.set_status(Status(StatusCode.ERROR))
            raise


def headers() -> dict[str, str]:
    """What an outgoing request carries so that its receiver goes on in this trace; empty outside a span."""
    carrier: dict[str, str] = {}
    if is_on():
        propagate.inject(carrier)
    return carrier


def note(traceparent: str | None) -> str | None:
    """What stands in `_note` of a change that came in with this `traceparent`; None where that is not a valid one."""
    if traceparent is None or not _TRACEPARENT.fullmatch(traceparent):
        return None
    return json.dumps({"traceparent": traceparent})


def _contexts(notes: pa.Array) -> list[SpanContext]:
    """The distinct traces that changes came in with, in order, at most as many as are linked."""
    if notes.null_count == len(notes):
        return []
    found: dict[str, SpanContext] = {}
    for text in notes.drop_null().unique().to_pylist()[:LINKS_LIMIT]:
        traceparent = json.loads(text).get("traceparent", "")
        if _TRACEPARENT.fullmatch(traceparent):
            carried = propagate.extract({"traceparent": traceparent})
            found[traceparent] = trace.get_current_span(carried).get_span_context()
    return list(found.values())
