"""Reads what a request carries: parameters as declared, a bounded JSON body. All mistakes are told at once."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request

from bridge.web.endpoint import TEXT_MOST, Parameter
from bridge.web.guard import has_body
from bridge.web.problems import Problem

BODY_LIMIT_BYTES = 1_000_000
BODY_S = 20.0  # how long a client may take for it
_AWARE = Annotated[datetime, msgspec.Meta(tz=True)]
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_FLAGS = {"true": True, "false": False}


def values(parameters: Sequence[Parameter], *, path: Mapping[str, str], query: QueryParams) -> dict[str, Any]:
    """The value of every parameter. Raises: Problem 400 naming each that is unknown, doubled or not as declared."""
    mistakes = []
    known = {parameter.name for parameter in parameters if parameter.place == "query"}
    for name in query:
        if name not in known:
            mistakes.append((name, "is not a parameter here"))
        elif len(query.getlist(name)) > 1:
            mistakes.append((name, "is given more than once"))
    found = {}
    for parameter in parameters:
        text = (path if parameter.place == "path" else query).get(parameter.name)
        try:
            found[parameter.name] = parameter.default if text is None else _value(parameter, text)
        except ValueError as error:
            mistakes.append((parameter.name, str(error)))
    if mistakes:
        raise invalid(mistakes)
    return found


def invalid(mistakes: Sequence[tuple[str, str]]) -> Problem:
    """A request whose parameters or body are wrong, each by name (or JSON pointer) with what is wrong."""
    errors = [{"pointer": pointer, "detail": detail} for pointer, detail in mistakes]
    return Problem(400, "invalid-request", "; ".join(f"{one}: {what}" for one, what in mistakes), errors=errors)


def _value(parameter: Parameter, text: str) -> Any:  # noqa: ANN401  of the parameter's kind
    """Raises: ValueError saying what is expected."""
    if parameter.kind == "whole":
        if not _WHOLE.fullmatch(text) or not parameter.least <= int(text) <= parameter.most:
            raise ValueError(f"is a whole number from {parameter.least} to {parameter.most}")
        return int(text)
    if parameter.kind == "flag":
        if text not in _FLAGS:
            raise ValueError("is true or false")
        return _FLAGS[text]
    if parameter.kind == "moment":
        try:
            return msgspec.convert(text, _AWARE)
        except msgspec.ValidationError:
            raise ValueError("is a time with its offset, like 2026-03-01T08:00:00Z") from None
    return _text(parameter, text)


def _text(parameter: Parameter, text: str) -> str:
    if parameter.choices and text not in parameter.choices:
        raise ValueError(f"is one of {', '.join(parameter.choices)}")
    if parameter.pattern and not re.fullmatch(parameter.pattern, text):
        raise ValueError(f"matches {parameter.pattern}")
    if not 0 < len(text) <= min(parameter.most, TEXT_MOST) or "\x00" in text:
        raise ValueError(f"is a text of up to {min(parameter.most, TEXT_MOST)} characters")
    return text


async def body(request: Request, of: type[msgspec.Struct]) -> msgspec.Struct:
    """The JSON body. Raises: Problem 400, 408, 413, 415."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Problem(
            415, "unsupported-media-type", "The body is to be application/json.", headers={"accept": "application/json"}
        )
    try:
        async with asyncio.timeout(BODY_S):
            raw = await _bounded(request)
        return msgspec.convert(_whole(msgspec.json.decode(raw)), of)
    except TimeoutError:
        raise Problem(
            408, "invalid-request", f"The body did not come within {BODY_S:.0f} s.", headers={"connection": "close"}
        ) from None
    except ClientDisconnect:
        raise Problem(400, "invalid-request", "The connection ended within the body.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid([("/", _told(error))]) from None


def _whole(content: object) -> object:
    """A body whose numbers like 7.0 are whole, as JSON Schema has it."""
    if not isinstance(content, dict):
        return content
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in content.items()
    }


def _told(error: Exception) -> str:
    """What is wrong with a body, without its content."""
    return str(error) if isinstance(error, msgspec.ValidationError) else "is not JSON"


async def _bounded(request: Request) -> bytes:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_LIMIT_BYTES:
            raise Problem(
                413,
                "body-too-large",
                f"A body of at most {BODY_LIMIT_BYTES} bytes is taken.",
                headers={"connection": "close"},
            )
    return bytes(raw)


def refuse_body(request: Request) -> None:
    """Raises: Problem 413 where a request that takes no body has one."""
    if has_body(request.headers):
        raise Problem(413, "body-too-large", "This route takes no body.", headers={"connection": "close"})
