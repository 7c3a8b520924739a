"""The one table of endpoints."""

from bridge.web import alarms, cursors, desk, events, letters, openapi, papers, runs, sinks, streams, systems
from bridge.web.endpoint import Answered, Call, Endpoint


def get_openapi(_call: Call) -> Answered:
    """The OpenAPI document of this table."""
    return openapi.answer(TABLE)


TABLE: tuple[Endpoint, ...] = (
    *streams.ENDPOINTS,
    *events.ENDPOINTS,
    *cursors.ENDPOINTS,
    *letters.ENDPOINTS,
    *sinks.ENDPOINTS,
    *systems.ENDPOINTS,
    *runs.ENDPOINTS,
    *alarms.ENDPOINTS,
    *desk.ENDPOINTS,
    *papers.ENDPOINTS,
    Endpoint("GET", "/openapi.json", "getOpenApi", "This description.", get_openapi, act=None,
             media={"application/json": {"type": "object"}}),
)  # fmt: skip
