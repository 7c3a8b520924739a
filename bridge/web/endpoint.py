"""What an endpoint is: one entry of the table from which routing, checks, documentation and OpenAPI are all made."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from bridge.access import Principal
from bridge.config.access import Act

if TYPE_CHECKING:
    from bridge.web.door import Door

Method = Literal["GET", "POST", "PUT", "DELETE"]
NAME = r"[a-z][a-z0-9_-]{0,62}"
WHOLE_MOST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a path or a query, checked before the handler sees it."""

    name: str
    about: str
    kind: Literal["text", "whole", "moment", "flag"] = "text"  # handlers see str, int, aware datetime, bool
    place: Literal["path", "query"] = "query"
    pattern: str = ""  # of a text, matched whole
    choices: tuple[str, ...] = ()  # of a text
    least: int = 0  # of a whole number
    most: int = WHOLE_MOST  # of a whole number; of a text, its characters
    default: Any = None

    @property
    def schema(self) -> dict[str, Any]:
        """Its JSON Schema."""
        if self.kind == "whole":
            found: dict[str, Any] = {"type": "integer", "minimum": self.least, "maximum": self.most}
        elif self.kind == "flag":
            found = {"type": "boolean"}
        elif self.kind == "moment":
            found = {"type": "string", "format": "date-time"}
        elif self.choices:
            found = {"type": "string", "enum": list(self.choices)}
        else:
            found = {"type": "string", "maxLength": min(self.most, TEXT_MOST)}
            found |= {"pattern": f"^{self.pattern}$"} if self.pattern else {"minLength": 1}
        return found | ({} if self.default is None else {"default": self.default})


TEXT_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path."""

    method: Method
    path: str  # with {parameters}
    name: str  # stable: OpenAPI's operationId
    about: str
    handler: "Handler"
    act: Act | None = "read"  # None: asks for no login
    parameters: tuple[Parameter, ...] = ()
    body: type[msgspec.Struct] | None = None  # what a JSON body holds; None: no body is taken
    answer: type[msgspec.Struct] | None = None  # what a 200 holds as JSON
    media: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # media type -> schema of a 200, where not JSON
    statuses: Mapping[int, str] = field(default_factory=dict)  # other answers that are no problems, and when they come
    problems: tuple[int, ...] = ()  # statuses of problems besides those that every endpoint has

    @property
    def shows_stream(self) -> bool:
        """Whether the path names a stream, which must be one of the principal's own."""
        return "{stream}" in self.path


@dataclass(frozen=True, slots=True)
class Call:
    """One request, admitted and checked."""

    door: "Door"
    principal: Principal
    values: Mapping[str, Any]  # by parameter; None where left out
    body: Any  # an instance of the endpoint's `body`
    request: Request

    @property
    def is_head(self) -> bool:
        """Whether only the headers are wanted."""
        return self.request.method == "HEAD"


Answered = msgspec.Struct | Response | ASGIApp
# A plain function runs in a worker thread, a coroutine function on the event loop.
Handler = Callable[[Call], Answered] | Callable[[Call], Awaitable[Answered]]


def stream_parameter() -> Parameter:
    """The stream that a path names."""
    return Parameter("stream", "Name of the stream.", place="path", pattern=NAME, most=63)


def json_answer(content: msgspec.Struct, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A payload as JSON."""
    return Response(msgspec.json.encode(content), status, dict(headers or {}), media_type="application/json")
