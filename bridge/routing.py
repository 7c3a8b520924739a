"""Every sink of a configuration: its adapter, and how it is served. A part of the composition root."""

from collections.abc import Mapping

from bridge.config.models import Config
from bridge.config.sinks import AmqpConfig
from bridge.contract.document import ContractDocument
from bridge.deliver.feed import Look
from bridge.deliver.route import Route, route_of
from bridge.errors import ConfigError
from bridge.naming import envelope_of
from bridge.parcel import Form
from bridge.ports import Sink
from bridge.select import Selection
from bridge.sinks.parquet import ParquetSink
from bridge.sinks.stdout import StdoutSink
from bridge.sinks.webhook import WebhookSink


def sinks_of(config: Config) -> dict[str, tuple[str, ...]]:
    """The streams that each sink is sent."""
    return {name: config.streams_for(sink.streams) for name, sink in config.sinks.items()}


def build_sink(config: Config, name: str) -> Sink:
    """The adapter of one sink, not connected. Raises: ConfigError where its extra is not installed."""
    declared = config.sinks[name]
    if declared.webhook is not None:
        public_url = config.bridge.http.public_url
        return WebhookSink(name, declared.webhook, concurrency=declared.concurrency, public_url=public_url)
    if declared.amqp is not None:
        return _amqp(name, declared.amqp)
    if declared.parquet is not None:
        return ParquetSink(name, declared.parquet.folder, compression=declared.parquet.compression)
    return StdoutSink(name)


def _amqp(name: str, amqp: AmqpConfig) -> Sink:
    try:
        from bridge.sinks.amqp import AmqpSink  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"sinks.{name} is a broker, and {error.name} is not installed",
            hint="Install it: pip install 'legacy-bridge[amqp]'.",
        ) from error
    return AmqpSink(name, url=amqp.url.reveal, exchange=amqp.exchange, routing_key=amqp.routing_key, queue=amqp.queue)


def build_routes(config: Config, documents: Mapping[str, ContractDocument]) -> list[tuple[Route, Sink]]:
    """Every sink with how it is served. Raises: ConfigError with every mistake of every sink."""
    routes, mistakes = [], []
    for name, declared in config.sinks.items():
        try:
            sink = build_sink(config, name)
            looks = {
                stream: _look(config, name, documents[stream], stream=stream, wants=sink.wants)
                for stream in sinks_of(config)[name]
            }
        except ConfigError as error:
            mistakes.append(error.detail)
            continue
        routes.append((route_of(name, declared, looks), sink))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return routes


def _look(config: Config, name: str, document: ContractDocument, *, stream: str, wants: Form) -> Look:
    declared = config.sinks[name]
    selection = Selection.compile(
        document,
        filter=declared.filter,
        fields=declared.fields,
        release=declared.release,
        place=f"sinks.{name}, stream {stream}",
    )
    envelope = envelope_of(config, stream, contract_id=document.id, key_fields=document.key_fields)
    return Look(stream, selection, envelope, form=wants)
