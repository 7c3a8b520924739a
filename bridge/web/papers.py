"""Contracts, AsyncAPI, pages of problems and the audit trail: what describes the door and what went through it."""

from datetime import datetime

import msgspec
from starlette.responses import PlainTextResponse, Response

from bridge.contract.schema import data_schema
from bridge.web import asyncapi, problems
from bridge.web.endpoint import Answered, Call, Endpoint, Parameter
from bridge.web.problems import Problem

SCHEMA = "application/schema+json"


class Contract(msgspec.Struct, frozen=True):
    """A contract in force."""

    id: str
    version: str
    streams: list[str]  # those of yours under it
    purpose: str
    key: list[str]
    fields: list[str]
    schema: str  # path of the JSON Schema of its events


class Contracts(msgspec.Struct, frozen=True):
    """The contracts of a principal's streams."""

    contracts: list[Contract]


class Entry(msgspec.Struct, frozen=True):
    """An entry of the audit trail."""

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    reason: str


class Trail(msgspec.Struct, frozen=True):
    """A page of the audit trail, oldest first."""

    entries: list[Entry]


def get_contracts(call: Call) -> Answered:
    """The contracts of the principal's streams."""
    found: dict[tuple[str, str], list[str]] = {}
    documents = call.door.documents
    for stream in call.door.seen(call.principal):
        found.setdefault((documents[stream].id, documents[stream].version), []).append(stream)
    return Contracts(
        [
            Contract(
                name,
                version,
                streams,
                documents[streams[0]].purpose,
                list(documents[streams[0]].key_fields),
                [field.name for field in documents[streams[0]].fields],
                f"/v1/contracts/{name}/{version}/schema.json",
            )
            for (name, version), streams in found.items()
        ]
    )


def get_schema(call: Call) -> Answered:
    """The JSON Schema of a contract's events."""
    wanted = call.values["id"], call.values["version"]
    for stream in call.door.seen(call.principal):
        document = call.door.documents[stream]
        if (document.id, document.version) == wanted:
            headers = {"cache-control": "private, max-age=3600", "etag": f'"{document.digest[:32]}"'}
            schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | data_schema(document)
            return Response(msgspec.json.encode(schema), headers=headers, media_type=SCHEMA)
    raise Problem(404, "not-found", f"No stream of yours is under contract {wanted[0]} {wanted[1]} now.")


def get_asyncapi(call: Call) -> Answered:
    """The AsyncAPI document of the principal's streams."""
    document = asyncapi.document(call.door, call.door.seen(call.principal))
    return Response(msgspec.json.encode(document), media_type="application/json")


def get_problem(call: Call) -> Answered:
    """The page of a type of problem."""
    return PlainTextResponse(problems.page(call.values["slug"]), headers={"cache-control": "public, max-age=3600"})


def get_audit(call: Call) -> Answered:
    """The audit trail."""
    found = call.door.journal.audit_trail(after=call.values["after"], limit=call.values["limit"])
    return Trail(
        [
            Entry(each.number, each.at, each.entry.actor, each.entry.action, each.entry.subject, each.entry.reason)
            for each in found
        ]
    )


ENDPOINTS = (
    Endpoint("GET", "/v1/contracts", "listContracts", "The contracts of your streams.", get_contracts,
             answer=Contracts),
    Endpoint("GET", "/v1/contracts/{id}/{version}/schema.json", "getContractSchema", "JSON Schema of the member `data` "
             "of a contract's events.", get_schema, parameters=(
                 Parameter("id", "Id of the contract.", place="path", pattern=r"[^/\x00-\x1f]+", most=200),
                 Parameter("version", "Its version.", place="path", pattern=r"[0-9A-Za-z.+-]+", most=60),
             ), media={SCHEMA: {"type": "object"}}),
    Endpoint("GET", "/asyncapi.json", "getAsyncApi", "AsyncAPI 3.0 of your streams.", get_asyncapi,
             media={"application/json": {"type": "object"}}),
    Endpoint("GET", "/problems/{slug}", "getProblem", "What a type of problem means.", get_problem, act=None,
             parameters=(Parameter("slug", "The type.", place="path", pattern=r"[a-z-]+", most=60),),
             media={"text/plain": {"type": "string"}}),
    Endpoint("GET", "/v1/audit", "listAudit", "The audit trail: the newest entries, or those behind a number.",
             get_audit, act="administer", parameters=(
                 Parameter("after", "Only entries behind this number.", kind="whole"),
                 Parameter("limit", "Entries at most.", kind="whole", least=1, most=10_000, default=100),
             ), answer=Trail),
)  # fmt: skip
