"""A REST API for tests, as a real server: lists records in pages of any kind, gives tokens, and counts its requests."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from bridge import yamlfile
from bridge.config.rest import ResourceConfig, RestSystemConfig
from bridge.contract import document
from bridge.contract.document import ContractDocument
from bridge.extraction.extractor import Extractor, Page, Question
from bridge.sources.rest.extractor import RestExtractor
from bridge.sources.rest.resource import Resource
from tests.receivers import Act, Received, Receiver, reply

LOCAL = ("127.0.0.0/8",)
PAGINGS: dict[str, dict[str, Any]] = {
    "all at once": {},
    "by Link": {"paging": {"link": {}}},
    "by a link in the body": {"paging": {"link": {"next": "meta.next"}}},
    "by a mark": {"paging": {"cursor": {"parameter": "after", "next": "meta.mark"}}},
    "by number": {"paging": {"page": {}}},
    "by offset": {"paging": {"offset": {}}},
}
CONTRACT = document.check(
    yamlfile.parse(
        """
apiVersion: v3.1.0
kind: DataContract
id: customer
version: 1.0.0
status: active
description: {purpose: Customers of the API.}
slaProperties: [{property: latency, value: 1, unit: m}]
schema:
  - name: customer
    logicalType: object
    properties:
      - {name: id, description: Its number., logicalType: integer, primaryKey: true}
      - {name: city, physicalName: address.city, description: Where., logicalType: string}
      - {name: credit, description: Limit., logicalType: number, customProperties: [
          {property: bridge.type, value: "decimal(38,2)"}, {property: bridge.unit, value: EUR}]}
""",
        file="customer.odcs.yaml",
    )
)


def record(number: int, *, changed: str = "2026-03-01T08:00:00Z", **rest: object) -> dict[str, Any]:
    return {"id": number, "address": {"city": f"city {number}"}, "credit": "10.50", "changed": changed, **rest}


@dataclass
class Api:
    """Lists `records` at any path; what a request asks for is looked up in its query."""

    records: list[dict[str, Any]]
    cap: int = 1_000  # records a page has at most, whatever is asked for
    before: Callable[[Received, int], Act | None] = lambda _received, _count: None  # may answer in its place
    headers: Mapping[str, str] = field(default_factory=dict)  # of every answer
    counts: bool = False  # whether the answer says how many records there are
    server: Receiver = field(default_factory=Receiver)
    sources: list[RestExtractor] = field(default_factory=list)  # that read it; closed with it

    def __enter__(self) -> Self:
        self.server.script = self.answer
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.sources:
            each.close()
        self.server.__exit__(None, None, None)

    @property
    def asked(self) -> list[str]:
        """Path and query of each request."""
        return [each.path for each in self.server.received]

    def answer(self, received: Received) -> Act:
        found = self.before(received, len(self.server.received))
        return found or self._list(received)

    def unchanged(self, received: Received) -> Act | None:
        """Not modified, to whoever knows it as it is."""
        return reply(304) if received.headers.get("if-none-match") == self.headers["etag"] else None

    def _list(self, received: Received) -> Act:
        query = {name: values[0] for name, values in parse_qs(urlsplit(received.path).query).items()}
        records = [each for each in self.records if each.get("changed", "") >= query.get("since", "")]
        size = min(self.cap, int(query.get("size", self.cap)))
        start = int(query.get("offset", query.get("after", 0))) or (int(query.get("page", 1)) - 1) * size
        end = start + size
        meta: dict[str, Any] = {"total": len(records)} if self.counts else {}
        headers = dict(self.headers)
        if end < len(records):
            here = f"/customers?size={size}&offset={end}" + (f"&since={query['since']}" if "since" in query else "")
            meta |= {"mark": str(end), "next": here}
            headers["link"] = f'</customers?offset=0>; rel="first", <{here}>; rel="next last"'
        body = {"meta": meta, "data": records[start:end]}
        return reply(200, headers={"content-type": "application/json", **headers}, body=json.dumps(body).encode())


def extractor(
    api: Api,
    *,
    system: Mapping[str, Any] | None = None,
    streams: Sequence[str] = ("customers",),
    contract: ContractDocument = CONTRACT,
    **resource: Any,  # noqa: ANN401  keys of the section
) -> RestExtractor:
    """What reads an API; keys of `rest` and of `resource`."""
    url = f"http://127.0.0.1:{api.server.port}"
    config = RestSystemConfig.model_validate({"url": url, "allow_networks": LOCAL, "timeout_s": 5, **(system or {})})
    keys = {"path": "/customers", "items": "data", "key": ["id"], "page_rows": 3, **resource}
    if "paging" in keys:
        keys["size"] = "size"
    section = ResourceConfig.model_validate(keys)
    made = {stream: Resource.of(stream, config.url, section, contract) for stream in streams}
    found = RestExtractor("crm", config, made)
    api.sources.append(found)
    found.open()
    return found


def pages(
    source: Extractor,
    *,
    stream: str = "customers",
    limit: int = 3,
    at_most: int = 1_000,
    **question: Any,  # noqa: ANN401  of Question
) -> list[Page]:
    """Every page of one reading."""
    found: list[Page] = []
    resume = question.pop("resume", None)
    while not found or resume is not None:
        found.append(source.page(Question(stream, limit, resume=resume, **question)))
        resume = json.loads(json.dumps(found[-1].resume))
        assert len(found) <= at_most
    return found


def rows(found: Sequence[Page]) -> list[dict[str, Any]]:
    return [row for page in found for row in page.columns.to_pylist()]


def ids(found: Sequence[Page]) -> list[int]:
    return [row["id"] for row in rows(found)]
