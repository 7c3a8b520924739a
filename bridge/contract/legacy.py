"""The functions of ours in contract expressions: what they take, and the rule that a value they cannot read breaks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlglot import exp

from bridge.contract import functions
from bridge.contract.compiler import Compiler, Misfit, Typed
from bridge.contract.kinds import DATE, INSTANT, TEXT, TIMESTAMP


def call(compiler: Compiler, node: exp.Expression) -> Typed:
    """Compile a call of one of them."""
    value = compiler.compile(node.expressions[0])
    rest = [compiler.compile(item).literal for item in node.expressions[1:]]
    return _LEGACY[str(node.this).lower()](compiler, value, rest)


def _cyymmdd(compiler: Compiler, value: Typed, rest: list[Any]) -> Typed:
    if not value.type.is_exact or value.type.scale:
        raise Misfit(f"cyymmdd takes a whole number, not {value.type}")
    if rest:
        _zone(rest[0])
    return compiler.fallible(value, functions.cyymmdd, DATE, detail="expected a CYYMMDD date", absent=0)


def _implied_decimal(compiler: Compiler, value: Typed, rest: list[Any]) -> Typed:
    places = rest[0]
    if not value.type.is_exact or value.type.scale or not isinstance(places, int) or not 0 <= places <= 18:  # noqa: PLR2004 - digits of a bigint
        raise Misfit("implied_decimal takes a whole number and 0 to 18 decimals")
    return compiler.shift(value, places)


def _code(compiler: Compiler, value: Typed, rest: list[Any]) -> Typed:
    if value.type != TEXT or len(rest) % 2 or not all(isinstance(item, str) for item in rest):
        raise Misfit("code takes a text and pairs of text literals: code(x, 'A', 'active', 'C', 'cancelled')")
    pairs = list(zip(rest[::2], rest[1::2], strict=True))
    known = ", ".join(written for written, _ in pairs)
    return compiler.fallible(
        value, lambda e: functions.code(e, pairs), TEXT, detail=f"expected one of {known}", rule="code"
    )


def _repair_charset(_: Compiler, value: Typed, rest: list[Any]) -> Typed:
    if value.type != TEXT or rest[0] not in {"latin1", "cp1252"}:
        raise Misfit("repair_charset takes a text and 'latin1' or 'cp1252'")
    return replace(value, expr=functions.repair_charset(value.expr, rest[0]), literal=None)


def _local_time(compiler: Compiler, value: Typed, rest: list[Any]) -> Typed:
    if value.type != TIMESTAMP:
        raise Misfit(f"local_time takes a timestamp without time zone, not {value.type}")
    zone = _zone(rest[0])
    detail = f"expected a time that exists in {zone}"
    return compiler.fallible(value, lambda e: functions.local_time(e, zone), INSTANT, detail=detail)


def _zone(zone: object) -> str:
    if not isinstance(zone, str) or not functions.is_zone(zone):
        raise Misfit("a time zone name such as 'America/Chicago' is expected")
    return zone


_LEGACY: dict[str, Callable[[Compiler, Typed, list[Any]], Typed]] = {
    "cyymmdd": _cyymmdd,
    "implied_decimal": _implied_decimal,
    "code": _code,
    "repair_charset": _repair_charset,
    "local_time": _local_time,
}
