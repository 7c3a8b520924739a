"""The AsyncAPI 3.0 document of the streams somebody sees: what comes over server-sent events and through sinks.

Payload schemas use keywords of JSON Schema draft 7 only, which every AsyncAPI tool knows.
"""

from collections.abc import Sequence
from typing import Any

from bridge import __version__
from bridge.contract.schema import data_schema
from bridge.web.door import Door
from bridge.web.openapi import CLOUD_EVENT

CONTENT_TYPE = "application/cloudevents+json"


def document(door: Door, streams: Sequence[str]) -> dict[str, Any]:
    """The document as a JSON object.

    Args:
        door: whose configuration it describes.
        streams: those it may name.
    """
    channels = {f"live-{stream}": _live(stream) for stream in streams}
    for name, sink in door.config.sinks.items():
        taken = door.config.streams_for(sink.streams)
        if sink.kind in ("webhook", "amqp") and all(stream in streams for stream in taken):
            channels[f"sink-{name}"] = _sink(name, sink.kind, taken)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Events of {door.config.bridge.name}",
            "version": __version__,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": channels,
        "operations": {name: _operation(name, channel) for name, channel in channels.items()},
        "components": {"messages": {stream: _message(door, stream) for stream in streams}},
    }


def _live(stream: str) -> dict[str, Any]:
    return {
        "address": f"/v1/streams/{stream}/events/live",
        "description": "Server-sent events; the id of each is its sequence number.",
        "messages": _messages([stream]),
        "bindings": {"http": {}},
    }


def _sink(name: str, kind: str, streams: Sequence[str]) -> dict[str, Any]:
    """A way out; its address is the receiver's and no business of other readers."""
    about = "Signed requests (Standard Webhooks)." if kind == "webhook" else "Messages to RabbitMQ."
    return {
        "address": None,
        "description": f"Sink {name}. {about}",
        "messages": _messages(streams),
        "bindings": {"http" if kind == "webhook" else "amqp": {}},
    }


def _messages(streams: Sequence[str]) -> dict[str, Any]:
    return {stream: {"$ref": f"#/components/messages/{stream}"} for stream in streams}


def _operation(name: str, channel: dict[str, Any]) -> dict[str, Any]:
    """What we do: we send."""
    messages = [{"$ref": f"#/channels/{name}/messages/{stream}"} for stream in channel["messages"]]
    return {"action": "send", "channel": {"$ref": f"#/channels/{name}"}, "messages": messages}


def _message(door: Door, stream: str) -> dict[str, Any]:
    contract = door.documents[stream]
    data = {"description": "Of a created, updated, deleted or read event.", **data_schema(contract)}
    payload = CLOUD_EVENT | {"properties": CLOUD_EVENT["properties"] | {"data": {"anyOf": [data, _GAP]}}}
    return {
        "name": stream,
        "title": f"An event of {stream}",
        "summary": contract.purpose,
        "contentType": CONTENT_TYPE,
        "correlationId": {"location": "$message.payload#/id"},
        "payload": payload,
    }


_GAP = {
    "type": "object",
    "description": "Of a gap: which changes are missing, and why.",
    "properties": {"cause": {"type": "string"}},
    "required": ["cause"],
}
