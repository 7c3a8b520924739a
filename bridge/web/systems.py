"""Legacy systems: whether they are read, the kill switch, and what they were asked. For who sees all their streams."""

from datetime import UTC, datetime, timedelta

import msgspec

from bridge.halt import standings
from bridge.web.desk import Petition, ask
from bridge.web.endpoint import NAME, Answered, Call, Endpoint, Handler, Parameter
from bridge.web.problems import Problem


class System(msgspec.Struct, frozen=True):
    """A legacy system as it stands."""

    system: str
    kind: str
    streams: list[str]
    paused: bool  # nothing is read
    since: datetime | None
    by: str
    reason: str
    left: str  # what stays on it while it is paused


class Systems(msgspec.Struct, frozen=True):
    """The systems of a principal."""

    systems: list[System]


class Charge(msgspec.Struct, frozen=True):
    """What a system was asked for one stream in one hour."""

    hour: datetime  # its begin
    stream: str  # empty: for no stream, as a login or a look at its load
    queries: int
    seconds: float  # that it was at work for us
    rows: int
    bytes: int


class Bill(msgspec.Struct, frozen=True):
    """What a system was asked, by hour and stream."""

    system: str
    since: datetime
    hours: list[Charge]


class Why(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reason, for people."""

    reason: str = ""


def _systems(call: Call) -> dict[str, System]:
    """The systems whose streams the principal sees, all of them."""
    return {
        one["system"]: msgspec.convert(one, System)
        for one in standings(call.door.journal, call.door.config)
        if _sees(call, one["system"])
    }


def _sees(call: Call, name: str) -> bool:
    streams = call.door.config.streams_of(name)
    return call.principal.streams == "*" or (bool(streams) and all(map(call.principal.sees, streams)))


def get_systems(call: Call) -> Answered:
    """Every system that the principal sees."""
    return Systems(list(_systems(call).values()))


def get_system(call: Call) -> Answered:
    """One system."""
    return _systems(call)[_named(call)]


def get_bill(call: Call) -> Answered:
    """What a system was asked."""
    name = _named(call)
    since = datetime.now(UTC) - timedelta(hours=call.values["hours"] - 1)
    charges = [
        Charge(one.at, one.stream, one.queries, one.seconds, one.rows, one.size_bytes)
        for one in call.door.journal.bill(system=name, since=since)
    ]
    return Bill(name, since.replace(minute=0, second=0, microsecond=0), charges)


def _named(call: Call) -> str:
    """Raises: Problem 404 where there is none, or none that the principal sees."""
    name: str = call.values["system"]
    config = call.door.config
    if name not in config.systems or not _sees(call, name):
        raise Problem(404, "not-found", f"There is no system {name!r}.")
    return name


def _asks(kind: str) -> Handler:
    async def handler(call: Call) -> Answered:
        reason = call.body.reason if call.body is not None else ""
        return await ask(call, kind, {"system": _named(call), "reason": reason})

    return handler


_ONE = (Parameter("system", "Name of the system.", place="path", pattern=NAME, most=63),)
_LATER = {202: "It takes longer; Location says where the outcome will be."}
ENDPOINTS = (
    Endpoint("GET", "/v1/systems", "listSystems", "The systems all of whose streams are yours.", get_systems,
             act="operate", answer=Systems),
    Endpoint("GET", "/v1/systems/{system}", "getSystem", "One system and whether it is read.", get_system,
             act="operate", parameters=_ONE, answer=System),
    Endpoint("GET", "/v1/systems/{system}/bill", "getBill", "What it was asked, by hour and stream.", get_bill,
             act="operate", parameters=(
                 *_ONE,
                 Parameter("hours", "Hours back, this one included.", kind="whole", least=1, most=9_600, default=24),
             ), answer=Bill),
    Endpoint("POST", "/v1/systems/{system}/pause", "pauseSystem",
             "The kill switch: stop every read within a second, until it is resumed.", _asks("system.pause"),
             act="operate", parameters=_ONE, body=Why, answer=Petition, statuses=_LATER, problems=(409,)),
    Endpoint("POST", "/v1/systems/{system}/resume", "resumeSystem", "Read it again.", _asks("system.resume"),
             act="operate", parameters=_ONE, answer=Petition, statuses=_LATER, problems=(409,)),
)  # fmt: skip
