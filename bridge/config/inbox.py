"""The keys of systems that send to us: `webhook` and `amqp`."""

from bridge.config.kit import Number, Section, Whole, key
from bridge.config.secrets import Secret


class WebhookSystemConfig(Section):
    """A system that sends us HTTP requests."""

    remember_hours: Number = key("How long ids of messages are remembered, so that none is taken twice.",
        default=72.0, gt=0)  # fmt: skip


class AmqpSystemConfig(Section):
    """A RabbitMQ broker whose queues we read."""

    url: Secret = key("Broker, like amqps://user:password@host/vhost: a reference.")
    prefetch_megabytes: Whole = key("Unacknowledged messages held at once.", default=8, ge=1, le=1024)
    remember_hours: Number = key("How long ids of messages are remembered, so that none is taken twice.",
        default=72.0, gt=0)  # fmt: skip
