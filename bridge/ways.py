"""The ways in: from the configuration to the sources of each system."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial

import structlog

from bridge import signing
from bridge.config.models import POLLED, Config
from bridge.contract import document as contracts
from bridge.contract.expression import columns
from bridge.errors import ConfigError
from bridge.extractors import build_polled
from bridge.findings import Level, refuse
from bridge.inbox.mapping import Mapper
from bridge.metrics import Metrics
from bridge.ports import Journal
from bridge.postgres.configured import connect_settings, server
from bridge.postgres.session import Connection
from bridge.pump import RenewableSource
from bridge.sources.file import configured as files
from bridge.sources.postgres import configured, preflight
from bridge.sources.postgres.reader import PostgresSource, Settings
from bridge.sources.postgres.tables import Capture
from bridge.sources.webhook import WebhookSource

_log = structlog.get_logger()


def build_sources(
    config: Config,
    system: str,
    documents: Mapping[str, contracts.ContractDocument],
    journal: Journal,
    *,
    stopping: Callable[[], bool],
    metrics: Metrics,
) -> Iterator[tuple[RenewableSource, frozenset[str]]]:
    """The sources of one system with their streams."""
    for name, streams in config.sources_of(system).items():
        if all(each.way in POLLED for each in streams.values()):
            yield build_polled(config, system, documents, journal, name=name), frozenset(streams)
        else:
            source = build_source(config, system, documents, journal, stopping=stopping, metrics=metrics)
            yield source, frozenset(streams)


def build_source(
    config: Config,
    system: str,
    documents: Mapping[str, contracts.ContractDocument],
    journal: Journal,
    *,
    stopping: Callable[[], bool] = lambda: False,
    metrics: Metrics | None = None,
) -> RenewableSource:
    """The source of one system, whatever its kind; `stopping` ends waits of its that may be long."""
    if config.systems[system].file is not None:
        return files.source(config, system, documents, journal, metrics=metrics)
    if config.systems[system].webhook is not None:
        return build_webhook(config, system, documents, journal)
    if config.systems[system].amqp is not None:
        return build_amqp(config, system, documents, journal)
    return build_postgres(config, system, documents, stopping=stopping)


def build_webhook(
    config: Config, system: str, documents: Mapping[str, contracts.ContractDocument], journal: Journal
) -> WebhookSource:
    """Where the requests of one system come in. Raises: ConfigError where a secret has not the form it must have."""
    declared = config.systems[system].webhook
    assert declared is not None  # noqa: S101  asked for by its kind
    if declared.standard is not None:
        signing.keys(secret.reveal() for secret in declared.standard.secrets)
    return WebhookSource(
        system,
        build_mappers(config, system, documents),
        known=partial(journal.received, system),
        remember=timedelta(hours=declared.remember_hours),
    )


def build_amqp(
    config: Config, system: str, documents: Mapping[str, contracts.ContractDocument], journal: Journal
) -> RenewableSource:
    """The queues of one broker. Raises: ConfigError where its client is not installed."""
    try:
        from bridge.sources.amqp.session import Settings as QueueSettings  # noqa: PLC0415  an extra
        from bridge.sources.amqp.source import AmqpSource  # noqa: PLC0415  as above
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"system {system} is a broker, and {error.name} is not installed",
            hint="Install it: pip install 'legacy-bridge[amqp]'.",
        ) from error
    declared = config.systems[system].amqp
    assert declared is not None  # noqa: S101  asked for by its kind
    return AmqpSource(
        system,
        QueueSettings(
            name=f"legacy-bridge/{config.bridge.name}/{system}",
            url=declared.url.reveal,
            queues={stream: each.origin for stream, each in config.streams_of(system).items()},
            prefetch_bytes=declared.prefetch_megabytes * 1_000_000,
        ),
        build_mappers(config, system, documents),
        known=partial(journal.received, system),
        remember=timedelta(hours=declared.remember_hours),
    )


def build_mappers(
    config: Config, system: str, documents: Mapping[str, contracts.ContractDocument]
) -> dict[str, Mapper]:
    """What turns the messages of each stream of a system into columns."""
    return {stream: build_mapper(config, stream, documents[stream]) for stream in config.streams_of(system)}


def build_mapper(config: Config, stream: str, document: contracts.ContractDocument) -> Mapper:
    """What turns the messages of a stream into columns."""
    declared = config.streams[stream]
    return Mapper.of(stream, f"{declared.system}/{declared.origin}", document)


def build_postgres(
    config: Config,
    system: str,
    documents: Mapping[str, contracts.ContractDocument],
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> PostgresSource:
    """The change log of one PostgreSQL server."""
    declared, reached = config.system(system), server(config, system)
    captures = []
    for stream, each in config.streams_of(system, "log").items():
        document = documents[stream]
        keys = [field for field in document.fields if field.key_position is not None]
        captures.append(
            Capture(
                stream,
                each.origin,
                key_columns=tuple(sorted({name for field in keys for name in columns(field.expression)})),
                is_keyless=not keys,
                reads_initially=each.snapshot == "initial",
                reselects=each.fill_unchanged == "reselect",
            )
        )
    return PostgresSource(
        Settings(
            name=system,
            connect=connect_settings(config, system),
            captures=tuple(captures),
            slot=reached.slot,
            publications=(reached.publication, reached.insert_publication),
            failover=reached.failover,
            heartbeat_s=reached.heartbeat_s,
            chunk_rows=declared.snapshot_chunk_rows,
            rows_per_second=declared.budget.snapshot_rows_per_second,
            limits=configured.slot_limits(config, system),
            rereads_after_loss=declared.on_position_lost == "resnapshot",
            stopping=stopping,
            prove=partial(prove_harmless, config, system),
        )
    )


def prove_harmless(config: Config, system: str, connection: Connection) -> None:
    """I9: the login's own rights and the server's settings are looked up before anything is read.

    Raises: SourceRefused with everything that forbids the start.
    """
    findings = preflight.inspect(connection, configured.setup(config, system))
    for finding in findings:
        if finding.level is Level.WARN:
            _log.warning(
                "source.warned", system=system, code=finding.code, subject=finding.subject, detail=finding.detail
            )
    refuse(findings)
