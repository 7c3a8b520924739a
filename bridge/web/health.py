"""Health pages and metrics.

- `/livez`: the loops turn. Restart the process when they do not.
- `/readyz`: the journal can be written and the configuration is loaded; `?verbose` lists each check. A legacy system
  that is down does not show here: restarting the bridge would not bring it back.
- `/health`: everything that is not well, as health+json: since when, what, what to do.
- `/metrics`: Prometheus' text format.

Read-only, without login, so by default on loopback only. No row value or secret is on any page.
"""

from collections.abc import Callable, Mapping

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bridge.health import HealthBoard
from bridge.metrics import Metrics
from bridge.web.guard import Guard

Check = Callable[[], str | None]  # None when well, else what is wrong


class HealthResponse(JSONResponse):
    """JSON in the media type of health checks."""

    media_type = "application/health+json"


def build(*, board: HealthBoard, metrics: Metrics, alive: Callable[[], bool], ready: Mapping[str, Check]) -> Starlette:
    """The application.

    Args:
        board: what `/health` shows.
        metrics: what `/metrics` shows.
        alive: whether every loop turned lately; must not block.
        ready: checks by name; each runs in a worker thread at every request.
    """

    def livez(_request: Request) -> Response:
        return PlainTextResponse("ok\n") if alive() else PlainTextResponse("a loop stands still\n", 503)

    def readyz(request: Request) -> Response:
        failures = {name: check() for name, check in ready.items()}
        status = 503 if any(failures.values()) else 200
        if "verbose" not in request.query_params:
            return PlainTextResponse("ok\n" if status == 200 else "not ready\n", status)  # noqa: PLR2004
        lines = [f"[-]{name}: {what}" if what else f"[+]{name}: ok" for name, what in failures.items()]
        return PlainTextResponse("\n".join(lines) + "\n", status)

    def health(_request: Request) -> Response:
        report = board.report()
        return HealthResponse(report, 503 if report["status"] == "fail" else 200)

    def page(_request: Request) -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    endpoints = {"/livez": livez, "/readyz": readyz, "/health": health, "/metrics": page}
    return Starlette(
        routes=[Route(path, endpoint) for path, endpoint in endpoints.items()], middleware=[Middleware(Guard)]
    )
