"""The keys of `sinks`: what every sink has, and what each kind adds."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, model_validator

from bridge.config.kit import (
    LocalPath,
    Networks,
    Number,
    Section,
    Streams,
    WebUrl,
    Whole,
    Words,
    key,
    one_of,
    section,
    split,
)
from bridge.config.secrets import Secret

Seconds = Annotated[tuple[Number, ...], BeforeValidator(split)]

KINDS = ("webhook", "amqp", "parquet", "stdout")


def _positive(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(value < 0 for value in values):
        raise ValueError("a list of seconds, none below 0")
    return values


def _routing_key(text: str) -> str:
    rest = re.sub(r"\{(stream|type|key)\}", "", text)
    if "{" in rest or "}" in rest or len(text.encode()) > 255:  # noqa: PLR2004  what AMQP's frames hold
        raise ValueError("up to 255 bytes, with {stream}, {type} and {key} in braces and nothing else")
    return text


class WebhookConfig(Section):
    """Signed HTTP requests (Standard Webhooks 1.0.0)."""

    url: WebUrl = key("Where requests go; https, or http on a network that `allow_networks` names.")
    secrets: tuple[Secret, ...] = key(
        "Signing secrets (`whsec_...`, or `whsk_...` for Ed25519); every request is signed with each.", min_length=1
    )
    format: Literal["structured", "binary", "batch"] = key("How CloudEvents stand in a request.", default="structured")
    timeout_s: Number = key("Seconds until an answer is given up.", default=20.0, gt=0, le=120)
    body_limit_kilobytes: Whole = key(
        "Larger bodies leave `data` out and carry `dataref`, a link to the event here.", default=20, ge=1, le=10_240
    )
    allow_networks: Networks = key(
        "Private networks that requests may go to, like 10.1.0.0/16; public ones always may.", default=()
    )
    ca_file: LocalPath | None = key("File of authorities to trust instead of the system's.", default=None)


class AmqpConfig(Section):
    """Messages to a RabbitMQ exchange, each confirmed by the broker."""

    url: Secret = key("Broker, like amqps://user:password@host/vhost: a reference.")
    exchange: str = key("Exchange that messages go to; empty for the default one.", default="")
    routing_key: Annotated[str, AfterValidator(_routing_key)] = key(
        "Routing key; {stream}, {type} and {key} are replaced.", default="{stream}"
    )
    queue: str | None = key(
        "Quorum queue that is declared and bound for these messages; none when the broker's owner did.", default=None
    )


class ParquetConfig(Section):
    """Files of columns: FOLDER/STREAM/vMAJOR/date=YYYY-MM-DD/FIRST-LAST.parquet."""

    folder: LocalPath = key("Folder of the data set, beside the config file unless absolute.")
    compression: Literal["zstd", "snappy", "none"] = key("How columns are compressed.", default="zstd")


class StdoutConfig(Section):
    """CloudEvents, one JSON object a line, on standard output; the log goes to standard error then."""


class BatchConfig(Section):
    """How events are put together."""

    events: Whole | None = key(
        "Events in one call at most; none = what suits the kind (webhook 1, amqp 500, parquet 100000, stdout 8192).",
        default=None,
        ge=1,
        le=1_000_000,
    )
    seconds: Number = key("How long an event may wait for others.", default=0.0, ge=0, le=86_400)


class RetryConfig(Section):
    """What becomes of an event that could not be delivered."""

    after_s: Annotated[Seconds, AfterValidator(_positive)] | None = key(
        "Seconds before each further attempt, a tenth more or less by chance; none = what suits the kind (webhook and "
        "amqp 5 s, 5 min, 30 min and so on over 3 days, parquet and stdout 0.5, 2, 5, 15, 30).",
        default=None,
    )
    refused_attempts: Whole = key(
        "Attempts after which an event that the receiver says no to is set aside; a receiver may be mended meanwhile.",
        default=3,
        ge=1,
    )
    then: Literal["dead_letter", "hold"] = key(
        "After the last attempt: set the event aside, or go on trying at the longest interval while its key waits; "
        "parquet and stdout always go on, since no event of theirs fails by itself.",
        default="dead_letter",
    )


class BreakerConfig(Section):
    """When a receiver is left alone."""

    failure_percent: Number = key("Share of failed calls that opens it.", default=50.0, gt=0, le=100)
    minimum_calls: Whole = key("Calls in the window below which it never opens.", default=10, ge=1)
    window_s: Number = key("Window in which calls are counted.", default=60.0, gt=0)
    pause_s: Number = key("How long it stays open before one event is tried; doubles up to `longest_pause_s`.",
        default=5.0, gt=0)  # fmt: skip
    longest_pause_s: Number = key("Longest pause between two trials.", default=300.0, gt=0)


class SinkConfig(Section):
    """One way out: a subscriber of the journal with a cursor of its own."""

    webhook: WebhookConfig | None = key("Signed HTTP requests.", default=None)
    amqp: AmqpConfig | None = key("Messages to RabbitMQ.", default=None)
    parquet: ParquetConfig | None = key("Files of columns.", default=None)
    stdout: StdoutConfig | None = key("JSON lines on standard output.", default=None)
    streams: Streams = key("Names of streams, or `*` for all.", default=("*",), min_length=1)
    start: Literal["beginning", "now"] = key("Where a new sink begins to read.", default="beginning")
    filter: str | None = key(
        "Contract expression over fields; an event for which it is false is not sent.", default=None
    )
    fields: Words = key("Contract fields to send besides the key; all when left out.", default=())
    release: Words = key(
        "Classifications whose fields may be sent, besides unclassified and `public` ones.", default=()
    )
    batch: BatchConfig = section("How events are put together.")
    concurrency: Whole = key("Calls under way at once; events of one key never are.", default=8, ge=1, le=256)
    rate: Number = key("Events a second at most; 0 = no limit.", default=0.0, ge=0)
    memory_megabytes: Whole | None = key(
        "Memory that events on their way may take; none = what suits the kind (16, parquet 64).",
        default=None,
        ge=1,
        le=4096,
    )
    hold_events: Whole = key(
        "Events of a stream that may wait behind failed ones; above it the sink reads no further in that stream.",
        default=10_000,
        ge=1,
    )
    retry: RetryConfig = section("What becomes of an event that could not be delivered.")
    breaker: BreakerConfig = section("When a receiver is left alone.")

    @model_validator(mode="after")
    def _one_kind(self) -> "SinkConfig":
        one_of(self, *KINDS)
        return self

    @property
    def kind(self) -> str:
        """The section that is given."""
        return one_of(self, *KINDS)
