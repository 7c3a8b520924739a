"""What the events of a configured stream are called: the one place that knows configuration and CloudEvents both."""

from bridge.config.models import Config
from bridge.export import Envelope


def envelope_of(config: Config, stream: str, *, contract_id: str, key_fields: tuple[str, ...]) -> Envelope:
    """What the events of a configured stream have in common."""
    return Envelope(
        instance=config.bridge.name,
        type_prefix=config.bridge.type_prefix,
        system=config.streams[stream].system,
        stream=stream,
        contract_id=contract_id,
        key_fields=key_fields,
    )
