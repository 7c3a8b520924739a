"""The keys of bridge.yaml: name, meaning, default and check of each, in one place.

`Config` is what `bridge.config.load` returns; the models below are its parts. All are frozen. A key marked live may
change while the daemon runs (`bridge.config.diff`); any other needs a restart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator

from bridge.config.access import OidcConfig, PrincipalConfig
from bridge.config.alarms import AlarmsConfig
from bridge.config.databases import (
    DATABASES,
    Db2Config,
    FirebirdConfig,
    MssqlConfig,
    MysqlConfig,
    OracleConfig,
    SqliteConfig,
)
from bridge.config.file import FilePattern, FileSystemConfig
from bridge.config.inbox import AmqpSystemConfig, InboxPath, Queue, WebhookSystemConfig
from bridge.config.kit import (
    Identifier,
    LibpqFile,
    LocalPath,
    Name,
    Number,
    Section,
    Table,
    TypePrefix,
    Whole,
    Zone,
    is_loopback,
    key,
    one_of,
    section,
    split,
)
from bridge.config.rest import ResourceConfig, RestSystemConfig
from bridge.config.schedule import BudgetConfig, CronText, Rhythm, Span
from bridge.config.secrets import Secret
from bridge.config.sinks import SinkConfig
from bridge.errors import NoSuchName

SYSTEM_KINDS = ("postgres", *DATABASES, "webhook", "amqp", "rest", "file")
SCHEDULE = ("every", "cron", "after", "sweep", "jitter")
POLLED = ("view", "resource")  # those of them that are read by runs
WAYS = ("log", "view", "resource", "webhook", "queue", "file")  # how a stream is read
Waiver = Literal["public_temp", "public_create", "security_definer", "can_write", "unlimited_slot"]
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class JournalConfig(Section):
    """Where events are kept."""

    sqlite: LocalPath = key("Journal file, beside the config file unless absolute.", default=Path("var/journal.db"))


class RetainConfig(Section):
    """How long events are kept; whichever limit comes first."""

    days: Number = key("Age in days after which events may go; 0 = no limit.", default=30.0, live=True, ge=0)
    gigabytes: Number = key("Size in GB above which the oldest events go; 0 = no limit.", default=50.0, live=True, ge=0)


class HttpConfig(Section):
    """The HTTP door: health pages, metrics and the API."""

    host: str = key("Address to listen on.", default="127.0.0.1", min_length=1)
    port: Whole = key("Port to listen on; 0 = any free one.", default=8079, ge=0, le=65535)
    expose: bool = key(
        "Sign for a `host` that other machines can reach: health pages and metrics ask for no login.", default=False
    )
    public_url: str | None = key("Where others reach this door, for links in events and pages.", default=None)
    oidc: OidcConfig | None = key("Whose JSON Web Tokens are accepted.", default=None)

    @model_validator(mode="after")
    def _signed(self) -> "HttpConfig":
        if not self.expose and not is_loopback(self.host):
            raise ValueError("a loopback `host`, or `expose: true` beside it (the pages ask for no login)")
        return self


class LogConfig(Section):
    """Text for people."""

    level: Literal["debug", "info", "warning", "error"] = key("Least level that is written.", default="info", live=True)
    format: Literal["json", "text", "auto"] = key("`auto` = text on a terminal, else JSON lines.", default="auto")


class BridgeConfig(Section):
    """This instance of the bridge."""

    name: Name = key("Name of this instance; legacy systems see it as the application name.")
    type_prefix: TypePrefix = key("What every event type starts with: a reversed domain name you own.")
    journal: JournalConfig = section("Where events are kept.")
    retain: RetainConfig = section("How long events are kept.")
    http: HttpConfig = section("The HTTP door.")
    log: LogConfig = section("Text for people.")


class PostgresConfig(Section):
    """How to reach a PostgreSQL server; where a connection key is unset, libpq's `PG*` variable or default acts."""

    host: str | None = key("Server name, address or socket folder.", default=None)
    port: Whole | None = key("Server port.", default=None, ge=1, le=65535)
    database: str | None = key("Database name.", default=None)
    user: str | None = key("Login; it must not be able to write.", default=None)
    password: Secret | None = key("Its password: a reference, read again at each connection.", default=None)
    sslmode: SslMode | None = key("TLS mode of libpq.", default=None)
    sslrootcert: LibpqFile | None = key("File of trusted certificates, or `system`.", default=None)
    sslcert: LibpqFile | None = key("File of the client certificate.", default=None)
    sslkey: LibpqFile | None = key("File of the client key.", default=None)
    passfile: LibpqFile | None = key("Password file in the form of `.pgpass`.", default=None)
    service: str | None = key("Service name in `pg_service.conf`.", default=None)
    connect_timeout_s: Whole | None = key("Seconds until an attempt to connect is given up.", default=None, ge=2)
    slot: Identifier = key("Replication slot that the bridge owns.", default="legacy_bridge")
    publication: Identifier = key("Publication of the tables with a key.", default="legacy_bridge")
    insert_publication: Identifier = key(
        "Insert-only publication of the tables without one.", default="legacy_bridge_inserts"
    )
    failover: bool = key("Create the slot as a failover slot (PostgreSQL 17 and later).", default=False)
    heartbeat_s: Number = key(
        "Seconds between heartbeats that let an idle database free its log; 0 = none.", default=10.0, ge=0
    )

    @model_validator(mode="after")
    def _apart(self) -> "PostgresConfig":
        if self.publication == self.insert_publication:
            raise ValueError("`publication` and `insert_publication` to be two different publications")
        return self


class SystemConfig(Section):
    """One legacy system."""

    postgres: PostgresConfig | None = key(
        "A PostgreSQL server and how to reach it; `{}` leaves everything to libpq.", default=None
    )
    mysql: MysqlConfig | None = key("A MySQL or MariaDB server, read by views.", default=None)
    sqlite: SqliteConfig | None = key("A SQLite database file, read by views.", default=None)
    firebird: FirebirdConfig | None = key("A Firebird server, read by views.", default=None)
    mssql: MssqlConfig | None = key("A Microsoft SQL Server, read by views.", default=None)
    oracle: OracleConfig | None = key("An Oracle database, read by views.", default=None)
    db2: Db2Config | None = key("An IBM Db2 database, read by views.", default=None)
    webhook: WebhookSystemConfig | None = key("A system that sends us HTTP requests.", default=None)
    amqp: AmqpSystemConfig | None = key("A RabbitMQ broker whose queues we read.", default=None)
    rest: RestSystemConfig | None = key("A system that is read by HTTP requests.", default=None)
    file: FileSystemConfig | None = key("A folder, here or on an SFTP server, in which it leaves files.", default=None)
    time_zone: Zone = key("Zone of its local times.", default="UTC")
    budget: BudgetConfig = section("What it may be asked.")
    allow: Annotated[tuple[Waiver, ...], BeforeValidator(split)] = key(
        "Findings of the preflight that you sign for.", default=()
    )
    on_position_lost: Literal["resnapshot", "stop"] = key(
        "When its history is gone: declare a gap and read again, or declare it and wait for a person.",
        default="resnapshot",
    )
    snapshot_chunk_rows: Whole = key("Rows per query of a re-read.", default=20_000, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _one_kind(self) -> "SystemConfig":
        one_of(self, *SYSTEM_KINDS)
        return self

    @property
    def kind(self) -> str:
        """The section that is given."""
        return one_of(self, *SYSTEM_KINDS)


class StreamConfig(Section):
    """One ordered flow of changes under one contract."""

    system: Name = key("Legacy system it comes from, a name below `systems`.")
    log: Table | None = key("Table read through the change log, as schema.table.", default=None)
    view: LocalPath | None = key("View file (SQL) it is read by, beside the config file unless absolute.", default=None)
    parameters: Mapping[str, str | int | float | bool] = key("Values of the view's parameters, by name.", default={})
    resource: ResourceConfig | None = key("What it reads of a system that offers HTTP.", default=None)
    webhook: InboxPath | None = key("Path below /v1/inbox/SYSTEM/ that takes its messages in.", default=None)
    queue: Queue | None = key("Queue that its messages are read from.", default=None)
    every: Span | None = key("How often it is polled, like 30s, 5m or 1d.", default=None, live=True)
    cron: CronText | None = key(
        "When it is polled, as in a crontab, by the system's `time_zone`.", default=None, live=True
    )
    after: Name | None = key("Stream of the same system whose runs it follows.", default=None, live=True)
    sweep: Rhythm | None = key(
        "How often all keys are compared, which finds deletes, like 1d or 0 3 * * 0.", default=None, live=True
    )
    most_deletes: Number = key(
        "Share of the known rows that one run may find gone; one that finds more fails and deletes none. 1 = all.",
        default=0.5,
        live=True,
        ge=0,
        le=1,
    )
    jitter: Span | None = key("How much later than planned a run may begin, evenly spread.", default=None, live=True)
    catch_up: Literal["once", "skip"] = key(
        "What becomes of runs that could not begin in time: one in their place, or none.", default="once", live=True
    )
    file: FilePattern | None = key("Names of the files that it is read from, like ORD*.DAT.", default=None)
    layout: LocalPath | None = key(
        "Layout of those files: a YAML file, or a copybook (.cpy), beside the config file unless absolute.",
        default=None,
    )
    mode: Literal["append", "full"] = key(
        "What a file holds: rows that are new, or the whole table, which is compared with the file before.",
        default="append",
    )
    contract: LocalPath = key("Contract file (ODCS), beside the config file unless absolute.", live=True)
    on_reject: Literal["pass", "hold"] = key(
        "Later changes of a rejected key flow on (`pass`) or wait behind it (`hold`).", default="pass", live=True
    )
    snapshot: Literal["initial", "never"] = key("Whether rows that exist at the start are read.", default="initial")
    fill_unchanged: Literal["reselect", "mark"] = key(
        "Large values the log leaves out: marked as unchanged, or read from the table as it is now.", default="mark"
    )
    capture_secrets: bool = key("Sign for a table that looks like sessions, tokens or passwords.", default=False)

    @model_validator(mode="after")
    def _one_way(self) -> "StreamConfig":
        one_of(self, *WAYS)
        if (self.file is None) != (self.layout is None):
            raise ValueError("`file` and `layout` together")
        if self.mode == "full" and self.file is None:
            raise ValueError("`file` beside `mode`: views say it in their header, resources in their section")
        if self.parameters and self.view is None:
            raise ValueError("`view` beside `parameters`")
        return self

    @model_validator(mode="after")
    def _one_schedule(self) -> "StreamConfig":
        if not self.is_polled:
            given = [name for name in SCHEDULE if getattr(self, name) is not None]
            if given:
                raise ValueError(f"no `{given[0]}`: what is polled has a schedule, and this is not")
        if sum(getattr(self, name) is not None for name in SCHEDULE[:3]) > 1:
            raise ValueError("one of `every`, `cron` and `after` at most")
        return self

    @property
    def way(self) -> str:
        """The key that says how it is read."""
        return one_of(self, *WAYS)

    @property
    def is_polled(self) -> bool:
        """Whether it is read by runs, and not as changes come."""
        return self.way in POLLED

    @property
    def has_runs(self) -> bool:
        """Whether the journal has a record of each time that it was read."""
        return self.is_polled or self.mode == "full"

    @property
    def origin(self) -> str:
        """Where its changes come from: a table, a view, a path, a queue or files."""
        polled = (self.view.stem if self.view else None) or (self.resource.path if self.resource else None)
        return self.log or polled or self.webhook or self.queue or self.file or ""


class File(Section):
    """The whole of bridge.yaml."""

    bridge: BridgeConfig = key("This instance of the bridge.")
    systems: dict[Name, SystemConfig] = key("Legacy systems by name.", min_length=1)
    streams: dict[Name, StreamConfig] = key("Streams by name.", min_length=1)
    sinks: dict[Name, SinkConfig] = section("Ways out by name.")
    principals: dict[Name, PrincipalConfig] = section("Who may use the HTTP door, by name.")
    alarms: AlarmsConfig = section("When somebody is told, and how.")


@dataclass(frozen=True, slots=True)
class Config:
    """A checked bridge.yaml."""

    path: Path  # the file it came from, absolute
    bridge: BridgeConfig
    systems: Mapping[str, SystemConfig]
    streams: Mapping[str, StreamConfig]
    sinks: Mapping[str, SinkConfig]
    principals: Mapping[str, PrincipalConfig]
    alarms: AlarmsConfig
    digest: str  # SHA-256 of every value; of a secret only its reference counts
    warnings: tuple[str, ...] = ()  # what is allowed but careless, one sentence each

    def system(self, name: str) -> SystemConfig:
        """A system by its name. Raises: NoSuchName when there is none."""
        if name not in self.systems:
            known = ", ".join(sorted(self.systems))
            raise NoSuchName(f"there is no system {name!r}", hint=f"The systems of {self.path} are: {known}.")
        return self.systems[name]

    def stream(self, name: str) -> StreamConfig:
        """A stream by its name. Raises: NoSuchName when there is none."""
        if name not in self.streams:
            known = ", ".join(sorted(self.streams))
            raise NoSuchName(f"there is no stream {name!r}", hint=f"The streams of {self.path} are: {known}.")
        return self.streams[name]

    def streams_of(self, system: str, *ways: str) -> dict[str, StreamConfig]:
        """The streams that come from one system, those alone that are read in one of these ways where any is named."""
        return {
            name: stream
            for name, stream in self.streams.items()
            if stream.system == system and (not ways or stream.way in ways)
        }

    def sources_of(self, system: str) -> dict[str, dict[str, StreamConfig]]:
        """What reads a system, each with its streams: those that are polled have a source of their own beside others.

        By the names under which the journal has their positions and the health page says how they are.
        """
        streams, polled = self.streams_of(system), self.streams_of(system, *POLLED)
        others = {name: stream for name, stream in streams.items() if name not in polled}
        found = {system: others, f"{system}/views" if others else system: polled}
        return {name: those for name, those in found.items() if those}

    def systems_of(self, kind: str) -> list[str]:
        """The systems of one kind."""
        return [name for name, system in self.systems.items() if system.kind == kind]

    def streams_for(self, patterns: Sequence[str]) -> tuple[str, ...]:
        """The streams that a sink or a principal names, `*` being all of them."""
        return tuple(name for name in self.streams if "*" in patterns or name in patterns)
