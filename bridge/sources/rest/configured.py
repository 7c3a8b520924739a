"""The extractor of a system as bridge.yaml describes it."""

from collections.abc import Mapping

from bridge.config.models import Config
from bridge.contract.document import ContractDocument
from bridge.errors import InternalError
from bridge.sources.rest.extractor import RestExtractor
from bridge.sources.rest.resource import Resource


def extractor(name: str, config: Config, documents: Mapping[str, ContractDocument]) -> RestExtractor:
    """What reads a system of the kind `rest`.

    Args:
        name: of the system.
        config: the whole file.
        documents: the contract of each of its streams.
    Raises: ConfigError when a contract and a resource do not fit.
    """
    system = config.systems[name].rest
    if system is None:
        raise InternalError(f"system {name} is no REST API")
    resources = {
        stream: Resource.of(stream, system.url, section.resource, documents[stream])
        for stream, section in config.streams_of(name, "resource").items()
        if section.resource is not None
    }
    return RestExtractor(name, system, resources)


def whole(config: Config, stream: str, document: ContractDocument) -> RestExtractor:
    """What reads all records of one stream in order of key, whatever its mode.

    Raises: ConfigError as `extractor`.
    """
    declared = config.streams[stream]
    system = config.systems[declared.system].rest
    if system is None or declared.resource is None:
        raise InternalError(f"stream {stream} reads no REST API")
    section = declared.resource.model_copy(update={"mode": "full", "cursor": None, "since": None})
    return RestExtractor(declared.system, system, {stream: Resource.of(stream, system.url, section, document)})
