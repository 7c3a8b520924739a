"""What the door says of itself: OpenAPI and AsyncAPI under their official schemas, and true of what it answers."""

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import openapi_spec_validator
import pytest

from bridge.web import openapi
from bridge.web.table import TABLE
from tests.door import Served, served

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
ASYNCAPI = Path(__file__).parents[1] / "schemas" / "asyncapi-3.0.0.json"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A door with events of both streams."""
    with served(tmp_path_factory.mktemp("door")) as running:
        for stream in ("orders", "payroll"):
            running.append(3, stream=stream)
        yield running


def test_the_openapi_document_is_valid(door: Served) -> None:
    openapi_spec_validator.validate(door.ask("/openapi.json", who=None).json)


def test_operation_ids_are_unique_and_errors_are_problem_documents() -> None:
    assert len({endpoint.name for endpoint in TABLE}) == len(TABLE)
    document = openapi.document(TABLE)
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    found = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
                    assert found["content"].keys() == {"application/problem+json"}


def test_every_endpoint_is_documented_with_its_act() -> None:
    text = DOCS.read_text()
    for endpoint in TABLE:
        row = f"| `{endpoint.method} {endpoint.path}` | {endpoint.act or 'none'} | {endpoint.about} |"
        assert row in text, endpoint.name


def test_every_parameter_of_a_path_is_declared() -> None:
    for endpoint in TABLE:
        declared = {each.name for each in endpoint.parameters if each.place == "path"}
        assert endpoint.path.count("{") == len(declared)
        assert all(f"{{{name}}}" in endpoint.path for name in declared)


def test_the_asyncapi_document_is_valid_and_names_only_streams_that_are_seen(door: Served) -> None:
    validator = jsonschema_rs.Draft7Validator(json.loads(ASYNCAPI.read_text()))
    everything, own = (door.ask("/asyncapi.json", who=who).json for who in ("root", "reader"))
    for document in (everything, own):
        validator.validate(document)
    assert everything["channels"].keys() == {"live-orders", "live-payroll"}
    assert own["channels"].keys() == {"live-orders"}


def test_events_obey_the_schemas_that_are_served(door: Served) -> None:
    schema = door.ask("/v1/contracts/orders/1.0.0/schema.json").json
    data = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    event = jsonschema_rs.Draft202012Validator(openapi.CLOUD_EVENT, validate_formats=True)
    message = door.ask("/asyncapi.json").json["components"]["messages"]["orders"]["payload"]
    payload = jsonschema_rs.Draft7Validator(message, validate_formats=True)
    events = door.ask("/v1/streams/orders/events").json["events"]
    assert len(events) == 3
    for each in events:
        data.validate(each["data"])
        event.validate(each)
        payload.validate(each)
    assert not data.is_valid({"order_no": "x", "more": 1}), "it is closed"
