"""References to values that do not belong in a file: ``${env:NAME}``, ``${file:PATH}``, ``${credential:NAME}``.

A `Secret` keeps the reference and reads the value each time it is asked, so a rotated password is used at the next
connection. It never prints: its text in any form is ``***``. Nothing here caches or logs a value.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from bridge.config.rotations import SEEN
from bridge.errors import SecretUnavailable

HIDDEN = "***"
KINDS = "${env:NAME}, ${file:PATH} or ${credential:NAME}"

_REFERENCE = re.compile(r"(?<!\$)\$\{([^}]*)\}")
_SECRET_LIMIT_BYTES = 64 * 1024  # a larger file is not a password; do not load it
_USERINFO = re.compile(r"(?<=://)([^\s/@:]*):[^\s/@]*@")
_ASSIGNED = re.compile(
    r"(?i)\b(\w*(?:password|passwd|passphrase|secret|token|api_?key|sslkey)\w*['\"]?\s*[=:]\s*)('[^']*'|\"[^\"]*\"|[^\s,;&'\"}]+)"
)
_SECRET_NAME = re.compile(r"(?i)pass(word|wd|phrase)|secret|token|api_?key|credential|authorization|cookie|^dsn$|_dsn$")


def is_secret_name(name: str) -> bool:
    """Whether a value under this name must be taken for a secret."""
    return _SECRET_NAME.search(name) is not None


def redact(text: str) -> str:
    """Hide what looks like a credential in free text: URL passwords and ``password=...`` in its many forms."""
    return _ASSIGNED.sub(rf"\1{HIDDEN}", _USERINFO.sub(rf"\1:{HIDDEN}@", text))


def has_reference(text: str) -> bool:
    """Whether the text holds a ``${...}``."""
    return _REFERENCE.search(text) is not None


def resolve(text: str, *, folder: Path, environ: Mapping[str, str], kinds: frozenset[str] | None = None) -> str:
    """Replace each reference in `text` by what it stands for; ``$${`` stands for a literal ``${``.

    Args:
        text: as the operator wrote it.
        folder: what relative files are relative to.
        environ: where ``env`` and ``$CREDENTIALS_DIRECTORY`` are looked up.
        kinds: the kinds allowed here; None means all.
    Raises: SecretUnavailable naming the reference, never a value.
    """

    def read(match: re.Match[str]) -> str:
        kind, _, name = match[1].partition(":")
        if kind not in _READERS or not name:
            raise SecretUnavailable(f"{match[0]} is not a reference; expected {KINDS}")
        if kinds is not None and kind not in kinds:
            raise SecretUnavailable(f"{match[0]} is for secrets only; here expected plain text or ${{env:NAME}}")
        return _READERS[kind](name, folder, environ)

    return _REFERENCE.sub(read, text).replace("$${", "${")


def _read_env(name: str, _folder: Path, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if not value:
        raise SecretUnavailable(
            f"${{env:{name}}}: the environment variable is {'not set' if value is None else 'empty'}"
        )
    return value


def _read_file(name: str, folder: Path, _environ: Mapping[str, str]) -> str:
    return _content(folder / name, reference=f"${{file:{name}}}")


def _read_credential(name: str, _folder: Path, environ: Mapping[str, str]) -> str:
    reference = f"${{credential:{name}}}"
    return _content(_credential_path(name, environ, reference=reference), reference=reference)


def _credential_path(name: str, environ: Mapping[str, str], *, reference: str) -> Path:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise SecretUnavailable(f"{reference}: $CREDENTIALS_DIRECTORY is not set (systemd sets it for LoadCredential=)")
    if "/" in name or name in {".", ".."}:
        raise SecretUnavailable(f"{reference}: a credential is a name without slashes")
    return Path(directory) / name


def _content(path: Path, *, reference: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_SECRET_LIMIT_BYTES + 1)
        text = content.decode("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SecretUnavailable(f"{reference}: cannot be read: {reason}") from None  # the cause may quote the content
    if not text or "\0" in text or len(content) > _SECRET_LIMIT_BYTES:
        raise SecretUnavailable(f"{reference}: is empty, larger than {_SECRET_LIMIT_BYTES} bytes, or binary")
    return text


_READERS: dict[str, Callable[[str, Path, Mapping[str, str]], str]] = {
    "env": _read_env,
    "file": _read_file,
    "credential": _read_credential,
}


class Secret:
    """A value that is read when it is needed and never printed.

    Two secrets are equal when their references are; what stands behind them is not looked at.
    """

    __slots__ = ("_environ", "_folder", "_text")

    def __init__(self, text: str, *, folder: Path = Path(), environ: Mapping[str, str] | None = None) -> None:
        self._text = text
        self._folder = folder
        self._environ = os.environ if environ is None else environ

    def reveal(self) -> str:
        """The value as it is now.

        Raises: SecretUnavailable when a reference leads nowhere at this moment.
        """
        value = resolve(self._text, folder=self._folder, environ=self._environ)
        if has_reference(self._text):
            SEEN.saw(self.reference, value, folder=f"{self._folder}")
        return value

    @property
    def reference(self) -> str:
        """The text as written when it is a reference, else ``***``."""
        return self._text if _REFERENCE.fullmatch(self._text) else HIDDEN

    def warnings(self) -> list[str]:
        """What is careless about how the secret is kept: written out, or in a file that everybody can read."""
        found = [] if has_reference(self._text) else [f"is written out in the file; use {KINDS}"]
        for body in _REFERENCE.findall(self._text):
            kind, _, name = body.partition(":")
            if kind == "file":
                path = self._folder / name
                if path.stat().st_mode & 0o004:
                    found.append(f"${{file:{name}}} can be read by every user; run: chmod o-rwx {path}")
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return HIDDEN

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Built from text, with the config file's folder and the environment from the validation context."""
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json")
        )

    @classmethod
    def _validate(cls, text: object, info: ValidationInfo) -> "Secret":
        if not isinstance(text, str) or not text:
            raise ValueError(KINDS)
        context: Mapping[str, Any] = info.context or {}
        return cls(text, folder=context.get("folder", Path()), environ=context.get("environ"))
