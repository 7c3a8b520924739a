"""What the models of bridge.yaml are made of: keys with their meaning, values with what is expected of them."""

import ipaddress
import re
import zoneinfo
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from bridge.addresses import is_network


def key(description: str, *, live: bool = False, **rest: Any) -> Any:  # noqa: ANN401  what pydantic's Field takes and is
    """A key of the file: required unless `default` or `default_factory` is given."""
    return Field(description=description, json_schema_extra={"live": live}, **rest)


def section(description: str) -> Any:  # noqa: ANN401  as above
    """A section that may be left out."""
    return Field(default_factory=dict, description=description)


def shaped(pattern: str, expected: str) -> AfterValidator:
    """Text that a pattern matches whole."""
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


def split(value: object) -> object:
    """A list given as text by an environment variable."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(is_network, values)):
        raise ValueError("networks, like 10.1.0.0/16 or fd00::/8, without host bits")
    return values


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number")  # noqa: TRY004  pydantic reports ValueError only
    return value


Name = Annotated[
    str, shaped(r"[a-z][a-z0-9_-]{0,62}", "a name of a-z, 0-9, _ and -, starting with a letter, up to 63 long")
]
Table = Annotated[str, shaped(r"[^.\s\x00-\x1f]+\.[^.\s\x00-\x1f]+", "schema.table, like sales.oeordh")]
Identifier = Annotated[str, shaped(r"[a-z_][a-z0-9_]{0,62}", "a name of a-z, 0-9 and _, up to 63 long")]
TypePrefix = Annotated[str, shaped(r"[a-z0-9-]+(\.[a-z0-9-]+)*", "a reversed domain name, like com.acme.erp")]
Zone = Annotated[str, AfterValidator(_zone)]
LocalPath = Annotated[Path, AfterValidator(_beside)]
LibpqFile = Annotated[str, AfterValidator(_beside_or_system)]
Streams = Annotated[tuple[str, ...], BeforeValidator(split)]
Words = Annotated[tuple[str, ...], BeforeValidator(split)]
Networks = Annotated[tuple[str, ...], BeforeValidator(split), AfterValidator(_networks)]
WebUrl = Annotated[
    str,
    shaped(
        r"https?://[^\s/?#@\\]+(?:[/?][^\s#]*)?",
        "an https URL (or http to an allow-listed network), without user, password or fragment",
    ),
]
Whole = Annotated[int, BeforeValidator(_not_bool)]
Number = Annotated[float, BeforeValidator(_not_bool)]


class Section(BaseModel):
    """A mapping in the file: unknown keys are errors, values never change."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True, validate_default=True
    )


def one_of(model: BaseModel, *names: str) -> str:
    """The one of these sections that is given. Raises: ValueError unless it is exactly one."""
    given = [name for name in names if getattr(model, name) is not None]
    if len(given) != 1:
        raise ValueError(f"exactly one of {', '.join(names)}, not {' and '.join(given) or 'none'}")
    return given[0]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
