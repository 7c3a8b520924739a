"""Messages as changes: a CloudEvent in structured, binary or batch mode, or any other JSON.

Of a CloudEvent `data` is the row, `id` and `source` together say which message it is, `time` when it happened and the
last word of its `type` (`.created`, `.updated`, `.deleted`, a version `.vN` behind it) what happened. Any other message
is a row that was created. What cannot be read is a change too, with nothing but its bytes (I3).
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from bridge.inbox import jsontext
from bridge.inbox.attributes import flaw, moment
from bridge.inbox.incoming import Incoming
from bridge.inbox.jsontext import NotJson, Value
from bridge.model import Op

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
ID_LIMIT = 120  # characters; of a longer id its digest is remembered

_DATA = ("data", "data_base64")
_OPS = {"created": Op.CREATE, "updated": Op.UPDATE, "deleted": Op.DELETE}
_WORD = re.compile(r"\.(created|updated|deleted)(?:\.v\d+)?\Z")
_JSON = re.compile(r"(?:application|text)/(?:[\w.+-]+\+)?json\Z")


@dataclass(frozen=True, slots=True)
class Change:
    """What one message, or one event of a batch, says."""

    body: bytes  # as it came; of a batch, the event's own part
    fields: Mapping[str, Value] | None  # the row; None where it cannot be read
    attributes: Mapping[str, str]  # of a CloudEvent
    op: Op
    at: datetime
    id: str | None  # remembered, so that it is taken once
    is_event: bool = False  # the body is a CloudEvent in structured mode
    traceparent: str | None = None  # the event's own, else that of the request; as sent


def changes(message: Incoming) -> tuple[Change, ...]:
    """What a message says; at least one change, except of an empty batch."""
    kind = media_type(message.content_type)
    try:
        if kind == BATCH:
            return _batch(message)
        if kind == STRUCTURED:
            return (_structured(message, jsontext.read(message.body), message.body),)
        if message.attributes:
            return (_binary(message),)
        return (
            _change(message, _row(jsontext.read(message.body)), body=message.body, attributes={}, identity=message.id),
        )
    except NotJson:
        return (_unread(message, message.body, message.id),)


def media_type(content_type: str) -> str:
    """The media type in a Content-Type, without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def _batch(message: Incoming) -> tuple[Change, ...]:
    events = jsontext.read(message.body)
    if not isinstance(events, list):
        raise NotJson("is no batch")
    found = []
    for number, event in enumerate(events):
        body = jsontext.compact(event).encode("utf-8", "surrogatepass")
        try:
            found.append(_structured(message, event, body))
        except NotJson:
            found.append(_unread(message, body, message.id and f"{message.id}#{number}"))
    return tuple(found)


def _structured(message: Incoming, event: Value, body: bytes) -> Change:
    event = _row(event)
    given = {name: value for name, value in event.items() if name not in _DATA and value is not None}
    _check(given)
    attributes = {name: str(jsontext.text(value)) for name, value in given.items()}
    if all(event.get(name) is not None for name in _DATA):
        raise NotJson("has its data twice")
    if event.get("data_base64") is not None:
        data = _row(_decoded(event["data_base64"]))
    else:
        data = {} if event.get("data") is None else _row(event["data"])
    return _change(message, data, body=body, attributes=attributes, identity=_event_id(attributes))


def _binary(message: Incoming) -> Change:
    _check(message.attributes)
    if message.body and not _JSON.match(media_type(message.content_type) or "application/json"):
        raise NotJson("is of another content type")
    row = _row(jsontext.read(message.body)) if message.body else {}
    identity = message.id if message.id is not None else _event_id(message.attributes)
    return _change(message, row, body=message.body, attributes=message.attributes, identity=identity)


def _change(
    message: Incoming, row: Mapping[str, Value], *, body: bytes, attributes: Mapping[str, str], identity: str | None
) -> Change:
    word = _WORD.search(attributes.get("type", ""))
    at = moment(attributes.get("time", "")) or message.received_at
    op = _OPS[word[1]] if word else Op.CREATE
    trace = attributes.get("traceparent", message.traceparent)
    return Change(body, row, attributes, op, at, _short(identity), is_event=_is_event(message), traceparent=trace)


def _unread(message: Incoming, body: bytes, identity: str | None) -> Change:
    at, identity, trace = message.received_at, _short(identity), message.traceparent
    is_event = _is_event(message)
    return Change(body, None, message.attributes, Op.CREATE, at, identity, is_event=is_event, traceparent=trace)


def _is_event(message: Incoming) -> bool:
    return media_type(message.content_type) in {STRUCTURED, BATCH}


def _row(value: Value) -> Mapping[str, Value]:
    if not isinstance(value, dict):
        raise NotJson("is no object")
    return value


def _check(attributes: Mapping[str, Value]) -> None:
    found = flaw(attributes)
    if found is not None:
        raise NotJson(f"is no CloudEvent: it {found}")


def _decoded(data: Value) -> Value:
    try:
        return jsontext.read(base64.b64decode(str(jsontext.text(data)), validate=True))
    except (binascii.Error, ValueError):
        raise NotJson("has data in Base64 that cannot be read") from None


def _event_id(attributes: Mapping[str, str]) -> str:
    return f"{attributes['source']} {attributes['id']}"


def _short(identity: str | None) -> str | None:
    if identity is None or len(identity) <= ID_LIMIT:
        return identity and identity.encode("utf-8", "replace").decode()
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
