"""The keys of bridge.yaml: name, meaning, default and check of each, in one place.

`Config` is what `bridge.config.load` returns; the models below are its parts. All are frozen. A key marked live may
change while the daemon runs (`bridge.config.diff`); any other needs a restart.
"""

import ipaddress
import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from bridge.config.secrets import Secret

Waiver = Literal["public_temp", "public_create", "security_definer", "can_write", "unlimited_slot"]
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


def _key(description: str, *, live: bool = False, **rest: Any) -> Any:  # noqa: ANN401  what pydantic's Field takes and is
    """A key of the file: required unless `default` or `default_factory` is given."""
    return Field(description=description, json_schema_extra={"live": live}, **rest)


def _section(description: str) -> Any:  # noqa: ANN401  as above
    """A section that may be left out."""
    return Field(default_factory=dict, description=description)


def _shaped(pattern: str, expected: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(expected)
        return text

    return AfterValidator(check)


def _zone(text: str) -> str:
    try:
        zoneinfo.ZoneInfo(text)
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):  # a folder of zones, a path, no such zone
        raise ValueError("a zone of the IANA time zone database, like America/Chicago") from None
    return text


def _beside(path: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path


def _beside_or_system(text: str, info: ValidationInfo) -> str:
    return text if text == "system" else str(_beside(Path(text), info))


def _split(value: object) -> object:
    """A list given as text by an environment variable."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number")  # noqa: TRY004  pydantic reports ValueError only
    return value


Name = Annotated[
    str, _shaped(r"[a-z][a-z0-9_-]{0,62}", "a name of a-z, 0-9, _ and -, starting with a letter, up to 63 long")
]
Table = Annotated[str, _shaped(r"[^.\s\x00-\x1f]+\.[^.\s\x00-\x1f]+", "schema.table, like sales.oeordh")]
Identifier = Annotated[str, _shaped(r"[a-z_][a-z0-9_]{0,62}", "a name of a-z, 0-9 and _, up to 63 long")]
TypePrefix = Annotated[str, _shaped(r"[a-z0-9-]+(\.[a-z0-9-]+)*", "a reversed domain name, like com.acme.erp")]
Zone = Annotated[str, AfterValidator(_zone)]
LocalPath = Annotated[Path, AfterValidator(_beside)]
LibpqFile = Annotated[str, AfterValidator(_beside_or_system)]
Whole = Annotated[int, BeforeValidator(_not_bool)]
Number = Annotated[float, BeforeValidator(_not_bool)]


class Section(BaseModel):
    """A mapping in the file: unknown keys are errors, values never change."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True, validate_default=True
    )


class JournalConfig(Section):
    """Where events are kept."""

    sqlite: LocalPath = _key("Journal file, beside the config file unless absolute.", default=Path("var/journal.db"))


class RetainConfig(Section):
    """How long events are kept; whichever limit comes first."""

    days: Number = _key("Age in days after which events may go; 0 = no limit.", default=30.0, live=True, ge=0)
    gigabytes: Number = _key(
        "Size in GB above which the oldest events go; 0 = no limit.", default=50.0, live=True, ge=0
    )


class HttpConfig(Section):
    """Health pages and metrics."""

    host: str = _key("Address to listen on.", default="127.0.0.1", min_length=1)
    port: Whole = _key("Port to listen on; 0 = any free one.", default=8079, ge=0, le=65535)
    expose: bool = _key("Sign for a `host` that other machines can reach: the pages ask for no login.", default=False)

    @model_validator(mode="after")
    def _signed(self) -> "HttpConfig":
        if not self.expose and not is_loopback(self.host):
            raise ValueError("a loopback `host`, or `expose: true` beside it (the pages ask for no login)")
        return self


class LogConfig(Section):
    """Text for people."""

    level: Literal["debug", "info", "warning", "error"] = _key(
        "Least level that is written.", default="info", live=True
    )
    format: Literal["json", "text", "auto"] = _key("`auto` = text on a terminal, else JSON lines.", default="auto")


class BridgeConfig(Section):
    """This instance of the bridge."""

    name: Name = _key("Name of this instance; legacy systems see it as the application name.")
    type_prefix: TypePrefix = _key("What every event type starts with: a reversed domain name you own.")
    journal: JournalConfig = _section("Where events are kept.")
    retain: RetainConfig = _section("How long events are kept.")
    http: HttpConfig = _section("Health pages and metrics.")
    log: LogConfig = _section("Text for people.")


class PostgresConfig(Section):
    """How to reach a PostgreSQL server; where a connection key is unset, libpq's `PG*` variable or default acts."""

    host: str | None = _key("Server name, address or socket folder.", default=None)
    port: Whole | None = _key("Server port.", default=None, ge=1, le=65535)
    database: str | None = _key("Database name.", default=None)
    user: str | None = _key("Login; it must not be able to write.", default=None)
    password: Secret | None = _key("Its password: a reference, read again at each connection.", default=None)
    sslmode: SslMode | None = _key("TLS mode of libpq.", default=None)
    sslrootcert: LibpqFile | None = _key("File of trusted certificates, or `system`.", default=None)
    sslcert: LibpqFile | None = _key("File of the client certificate.", default=None)
    sslkey: LibpqFile | None = _key("File of the client key.", default=None)
    passfile: LibpqFile | None = _key("Password file in the form of `.pgpass`.", default=None)
    service: str | None = _key("Service name in `pg_service.conf`.", default=None)
    connect_timeout_s: Whole | None = _key("Seconds until an attempt to connect is given up.", default=None, ge=2)
    slot: Identifier = _key("Replication slot that the bridge owns.", default="legacy_bridge")
    publication: Identifier = _key("Publication of the tables with a key.", default="legacy_bridge")
    insert_publication: Identifier = _key(
        "Insert-only publication of the tables without one.", default="legacy_bridge_inserts"
    )
    failover: bool = _key("Create the slot as a failover slot (PostgreSQL 17 and later).", default=False)
    heartbeat_s: Number = _key(
        "Seconds between heartbeats that let an idle database free its log; 0 = none.", default=10.0, ge=0
    )

    @model_validator(mode="after")
    def _apart(self) -> "PostgresConfig":
        if self.publication == self.insert_publication:
            raise ValueError("`publication` and `insert_publication` to be two different publications")
        return self


class BudgetConfig(Section):
    """What a legacy system may be asked (I10)."""

    connections: Whole = _key("Sessions at most, replication included.", default=3, live=True, ge=2)
    slot_gigabytes: Number = _key("Change log in GB that may wait on the server for us.", default=10.0, live=True, gt=0)
    snapshot_rows_per_second: Whole = _key(
        "Rows a second a re-read may take; 0 = no limit.", default=0, live=True, ge=0
    )


class SystemConfig(Section):
    """One legacy system."""

    postgres: PostgresConfig = _key("How to reach it; `{}` leaves everything to libpq.")
    time_zone: Zone = _key("Zone of its local times.", default="UTC")
    budget: BudgetConfig = _section("What it may be asked.")
    allow: Annotated[tuple[Waiver, ...], BeforeValidator(_split)] = _key(
        "Findings of the preflight that you sign for.", default=()
    )
    on_position_lost: Literal["resnapshot", "stop"] = _key(
        "When its history is gone: declare a gap and read again, or declare it and wait for a person.",
        default="resnapshot",
    )
    snapshot_chunk_rows: Whole = _key("Rows per query of a re-read.", default=20_000, ge=1, le=1_000_000)


class StreamConfig(Section):
    """One ordered flow of changes under one contract."""

    system: Name = _key("Legacy system it comes from, a name below `systems`.")
    log: Table = _key("Table read through the change log, as schema.table.")
    contract: LocalPath = _key("Contract file (ODCS), beside the config file unless absolute.", live=True)
    on_reject: Literal["pass", "hold"] = _key(
        "Later changes of a rejected key flow on (`pass`) or wait behind it (`hold`).", default="pass", live=True
    )
    snapshot: Literal["initial", "never"] = _key("Whether rows that exist at the start are read.", default="initial")
    fill_unchanged: Literal["reselect", "mark"] = _key(
        "Large values the log leaves out: marked as unchanged, or read from the table as it is now.", default="mark"
    )
    capture_secrets: bool = _key("Sign for a table that looks like sessions, tokens or passwords.", default=False)


class File(Section):
    """The whole of bridge.yaml."""

    bridge: BridgeConfig = _key("This instance of the bridge.")
    systems: dict[Name, SystemConfig] = _key("Legacy systems by name.", min_length=1)
    streams: dict[Name, StreamConfig] = _key("Streams by name.", min_length=1)


@dataclass(frozen=True, slots=True)
class Config:
    """A checked bridge.yaml."""

    path: Path  # the file it came from, absolute
    bridge: BridgeConfig
    systems: Mapping[str, SystemConfig]
    streams: Mapping[str, StreamConfig]
    digest: str  # SHA-256 of every value; of a secret only its reference counts
    warnings: tuple[str, ...] = ()  # what is allowed but careless, one sentence each

    def streams_of(self, system: str) -> dict[str, StreamConfig]:
        """The streams that come from one system."""
        return {name: stream for name, stream in self.streams.items() if stream.system == system}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
