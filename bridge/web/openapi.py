"""The OpenAPI 3.1 document of a table of endpoints. Operation ids are stable; every error is problem+json."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from bridge import __version__
from bridge.web.endpoint import Endpoint, Parameter

_PROBLEM_TEXT = {
    400: "A parameter or the body is not as described.",
    401: "No key or token, or none that is valid here.",
    403: "The act is not among yours.",
    404: "There is no such thing, or you may not see it.",
    406: "None of the wanted formats is served.",
    408: "The body did not come in time.",
    409: "It cannot be done as things stand.",
    410: "The events are not kept any more.",
    413: "The body is too large, or none is taken.",
    415: "The body is of another media type.",
    429: "More than the quota allows.",
    503: "Not available now.",
}
_STRING = {"type": "string"}
CLOUD_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "CloudEvents 1.0, JSON format. `sequence` is the number in the stream.",
    "required": ["specversion", "id", "source", "type", "sequence"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": _STRING,
        "source": {"type": "string", "format": "uri-reference"},
        "type": _STRING,
        "subject": _STRING,
        "time": {"type": "string", "format": "date-time"},
        "dataschema": {"type": "string", "format": "uri"},
        "datacontenttype": {"const": "application/json"},
        "sequence": {"type": "string", "pattern": "^[0-9]{20}$"},
        "partitionkey": _STRING,
        "transactionid": _STRING,
        "counterpart": _STRING,
        "unchanged": _STRING,
        "marks": _STRING,
        "withheld": _STRING,
        "data": {"type": "object"},
    },
    "additionalProperties": False,
}
PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail", "instance", "trace_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": _STRING,
        "status": {"type": "integer"},
        "detail": _STRING,
        "instance": {"type": "string"},
        "trace_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "hint": _STRING,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": _STRING, "detail": _STRING},
            },
        },
    },
}


def document(table: Sequence[Endpoint]) -> dict[str, Any]:
    """The document as a JSON object."""
    types = {of for endpoint in table for of in (endpoint.answer, endpoint.body) if of is not None}
    ordered = sorted(types, key=lambda of: of.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in table:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Legacy bridge",
            "version": __version__,
            "description": "Contract-checked events of legacy systems, and the operation of their delivery.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "webhooks": {"event": {"post": _webhook()}},
        "components": {
            "schemas": {"CloudEvent": CLOUD_EVENT, "Problem": PROBLEM, **schemas},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`legacy-bridge key create`) or a JSON Web Token of the issuer.",
                }
            },
            "responses": {str(status): _problem(text) for status, text in _PROBLEM_TEXT.items()},
        },
    }


def answer(table: Sequence[Endpoint]) -> Response:
    """The document as an answer."""
    return Response(msgspec.json.encode(document(table)), media_type="application/json")


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.about.partition(". ")[0].rstrip("."),
        "description": endpoint.about + ("" if endpoint.act is None else f" Needs the act `{endpoint.act}`."),
        "parameters": [_parameter(each) for each in endpoint.parameters],
        "responses": _responses(endpoint),
    }
    if endpoint.act is None:
        found["security"] = []
    if endpoint.body is not None:
        schema = {"$ref": f"#/components/schemas/{endpoint.body.__name__}"}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.about,
        "required": parameter.place == "path",
        "schema": parameter.schema,
    }


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if 204 not in endpoint.statuses:  # noqa: PLR2004  the only answer without content
        found["200"] = {"description": "As asked.", "content": _content(endpoint)}
    later = {"description": "", "content": _content(endpoint)}
    for status, text in endpoint.statuses.items():
        found[str(status)] = {"description": text} if status in (204, 304) else later | {"description": text}
    problems = {400, 404, 413, *endpoint.problems}
    problems |= set() if endpoint.act is None else {401, 403, 429, 503}
    problems |= {408, 415} if endpoint.body is not None else set()
    found |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(problems)}
    return found


def _content(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.answer is not None:
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{endpoint.answer.__name__}"}}}
    return {media: {"schema": dict(schema)} for media, schema in endpoint.media.items()}


def _problem(text: str) -> dict[str, Any]:
    schema: Mapping[str, Any] = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {"application/problem+json": {"schema": schema}}}


def _webhook() -> dict[str, Any]:
    """What a webhook sink sends (Standard Webhooks 1.0.0)."""
    headers = {
        "webhook-id": "Stable over attempts: drop what you have seen.",
        "webhook-timestamp": "Seconds since 1970, of the attempt.",
        "webhook-signature": "`v1,` and base64 of the HMAC-SHA256 of `id.timestamp.body`; one for each secret.",
    }
    event = {"schema": {"$ref": "#/components/schemas/CloudEvent"}}
    return {
        "operationId": "receiveEvent",
        "summary": "What a webhook sink sends to its receiver",
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": about, "schema": _STRING}
            for name, about in headers.items()
        ],
        "requestBody": {"required": True, "content": {"application/cloudevents+json": event}},
        "responses": {
            "2XX": {"description": "It is yours now."},
            "410": {"description": "You want nothing any more; the sink is switched off."},
        },
    }
