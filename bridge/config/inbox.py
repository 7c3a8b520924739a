"""The keys of systems that send to us: `webhook` and `amqp`."""

from typing import Annotated

from pydantic import model_validator

from bridge.config.kit import Number, Section, Whole, Words, key, one_of, shaped
from bridge.config.secrets import Secret

WAYS = ("standard", "github", "stripe", "basic")
_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}"
InboxPath = Annotated[str, shaped(rf"{_PART}(/{_PART}){{0,7}}", "a path like orders or v1/orders")]
Queue = Annotated[str, shaped(r"[^\x00-\x1f]{1,255}", "a queue's name, up to 255 long")]


class SigningSecrets(Section):
    """Secrets that the sender signs with."""

    secrets: tuple[Secret, ...] = key(
        "Secrets, any of which may have signed; two while one is being replaced.", min_length=1, max_length=8
    )


class BasicLogin(Section):
    """User and password in every request."""

    user: str = key("User.", min_length=1, max_length=255)
    password: Secret = key("Its password: a reference.")


class WebhookSystemConfig(Section):
    """A system that sends us HTTP requests."""

    standard: SigningSecrets | None = key("Standard Webhooks: `webhook-signature`, secrets `whsec_...` or `whpk_...`.",
        default=None)  # fmt: skip
    github: SigningSecrets | None = key("As GitHub signs: `X-Hub-Signature-256`.", default=None)
    stripe: SigningSecrets | None = key("As Stripe signs: `Stripe-Signature`.", default=None)
    basic: BasicLogin | None = key("User and password; only over TLS.", default=None)
    body_limit_megabytes: Number = key("Largest body that is taken in.", default=1.0, gt=0, le=64)
    remember_hours: Number = key("How long ids of messages are remembered, so that none is taken twice.",
        default=72.0, gt=0, le=8760)  # fmt: skip
    allowed_origins: Words = key(
        "Origins that may ask to send CloudEvents (`WebHook-Request-Origin`), or `*` for any.", default=()
    )

    @model_validator(mode="after")
    def _one_way(self) -> "WebhookSystemConfig":
        one_of(self, *WAYS)
        return self

    @property
    def way(self) -> str:
        """How a request shows whom it is from."""
        return one_of(self, *WAYS)


class AmqpSystemConfig(Section):
    """A RabbitMQ broker whose queues we read."""

    url: Secret = key("Broker, like amqps://user:password@host/vhost: a reference.")
    prefetch_megabytes: Whole = key("Unacknowledged messages held at once.", default=8, ge=1, le=1024)
    remember_hours: Number = key("How long ids of messages are remembered, so that none is taken twice.",
        default=72.0, gt=0, le=8760)  # fmt: skip
