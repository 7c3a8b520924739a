"""CloudEvents over HTTP: how one event, or several, become headers and a body. Pure.

Source: CloudEvents 1.0.2, "HTTP Protocol Binding" 3.1 to 3.3; extensions "dataref" and "Distributed Tracing".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

Headers = tuple[tuple[bytes, bytes], ...]

_EVENT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STRUCTURED: Headers = ((b"content-type", b"application/cloudevents+json; charset=UTF-8"),)
_BATCH: Headers = ((b"content-type", b"application/cloudevents-batch+json; charset=UTF-8"),)
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_TRACE = ("traceparent", "tracestate")


@dataclass(frozen=True, slots=True)
class Content:
    """What a request carries, besides what identifies and signs it."""

    headers: Headers
    body: bytes


def structured(text: bytes) -> Content:
    """One event as it is."""
    return Content(_STRUCTURED, text)


def batch(texts: Sequence[bytes]) -> Content:
    """Several events in one JSON array."""
    return Content(_BATCH, b"[%b]" % b",".join(texts))


def binary(text: bytes) -> Content:
    """One event with its attributes as headers and its data, which is JSON, as the body."""
    event = _EVENT.decode(text)
    body = bytes(event.pop("data", b""))
    kind = event.pop("datacontenttype", None)
    headers = [(b"ce-" + name.encode(), _header(value)) for name, value in event.items()]
    if kind is not None:
        headers.append((b"content-type", msgspec.json.decode(kind, type=str).encode()))
    return Content(tuple(headers), body)


def without_data(text: bytes, *, dataref: str) -> bytes:
    """The event with a link to where it can be fetched in place of its data."""
    event = _EVENT.decode(text)
    for name in ("data", "datacontenttype"):
        event.pop(name, None)
    event["dataref"] = msgspec.Raw(msgspec.json.encode(dataref))
    return msgspec.json.encode(event)


def trace(text: bytes) -> Headers:
    """The headers of the trace that an event began in; none where it names none."""
    if b'"traceparent"' not in text:
        return ()
    event = _EVENT.decode(text)  # the word may also stand in its data
    return tuple((name.encode(), _header(event[name])) for name in _TRACE if name in event)


def _header(value: msgspec.Raw) -> bytes:
    """An attribute as a header's value: printable ASCII, the rest percent-encoded as UTF-8."""
    decoded = msgspec.json.decode(value)
    text = decoded if isinstance(decoded, str) else bytes(value).decode()
    return quote(text, safe=_PLAIN).encode()
