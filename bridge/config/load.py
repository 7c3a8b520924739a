"""Read bridge.yaml into a `Config`, whole or not at all, with every mistake reported at once."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bridge import yamlfile
from bridge.config import environment, keys
from bridge.config.databases import DATABASES
from bridge.config.kit import is_loopback, split
from bridge.config.mistakes import InvalidConfig, KeyPath, Mistake, did_you_mean, explain, shown
from bridge.config.models import Config, File
from bridge.config.secrets import Secret, has_reference, resolve
from bridge.errors import SecretUnavailable

_FILES = ("sslrootcert", "sslcert", "sslkey", "passfile")


def load(
    path: Path,
    *,
    environ: Mapping[str, str] | None = None,
    require_references: bool = True,
    require_contracts: bool = True,
) -> Config:
    """Read, override, resolve and check a configuration file.

    Args:
        path: the YAML file; relative paths in it are relative to its folder.
        environ: overrides and ``${env:...}``; the process's own when None.
        require_references: False for commands that only read the journal: a reference that leads nowhere is then
            left out instead of being a mistake.
        require_contracts: False where they are yet to be written.
    Raises: ConfigError listing every mistake, each with file and line; nothing has been started or changed.
    """
    given = os.environ if environ is None else environ
    return _Reading(path, given, require_references=require_references, require_contracts=require_contracts).result()


class _Reading:
    """One pass over one file: the data as written, and the mistakes found so far by key."""

    def __init__(
        self, path: Path, environ: Mapping[str, str], *, require_references: bool, require_contracts: bool
    ) -> None:
        self.path = path.absolute()
        self.environ = environ
        self.require_references = require_references
        self.require_contracts = require_contracts
        self.document = yamlfile.read(path)
        if not isinstance(self.document.data, dict):
            raise InvalidConfig(
                str(path), [Mistake(f"{path}:1", "the file", "is not a mapping", "bridge, systems, streams")]
            )
        self.data: dict[str, Any] = self.document.data
        self.variables = environment.override(self.data, environ)
        self.mistakes: dict[KeyPath, Mistake] = {}
        self.warnings: list[str] = []

    def result(self) -> Config:
        resolved = self._resolved(self.data, ())
        file = None
        try:
            file = File.model_validate(resolved, context={"folder": self.path.parent, "environ": self.environ})
        except ValidationError as error:
            for finding in error.errors(include_url=False):
                self._explain(finding)
        self._check_streams()
        self._check_sinks()
        self._check_alarms()
        self._check_principals()
        if self.require_references:
            self._check_files()
        if file is None or self.mistakes:
            raise InvalidConfig(str(self.document.file), sorted(self.mistakes.values(), key=self._order)) from None
        self._warn_of_plain_keys(file)
        return Config(
            path=self.path,
            bridge=file.bridge,
            systems=file.systems,
            streams=file.streams,
            sinks=file.sinks,
            principals=file.principals,
            alarms=file.alarms,
            digest=_digest(file),
            warnings=tuple(self.warnings),
        )

    def _resolved(self, node: object, path: KeyPath) -> object:
        """The data with references replaced, except in secrets, which stay references."""
        if isinstance(node, dict):
            pairs = ((key, self._resolved(value, (*path, str(key)))) for key, value in node.items())
            return {key: value for key, value in pairs if value is not _ABSENT}
        if isinstance(node, list):
            return [self._resolved(value, (*path, str(index))) for index, value in enumerate(node)]
        if not isinstance(node, str):
            return node
        key = keys.holding(path)
        return self._checked_secret(node, path) if key is not None and key.secret else self._plain(node, path)

    def _plain(self, text: str, path: KeyPath) -> object:
        if not has_reference(text):
            return text
        try:
            return resolve(text, folder=self.path.parent, environ=self.environ, kinds=frozenset({"env"}))
        except SecretUnavailable as error:
            if self.require_references:
                self._add(path, f"cannot be resolved: {error.detail}", "a reference to something that is there")
            return _ABSENT

    def _checked_secret(self, text: str, path: KeyPath) -> str:
        if self.require_references:
            secret = Secret(text, folder=self.path.parent, environ=self.environ)
            try:
                secret.reveal()
                self.warnings += [f"{self._place(path)}: {'.'.join(path)} {warning}" for warning in secret.warnings()]
            except SecretUnavailable as error:
                self._add(path, f"cannot be resolved: {error.detail}", "a reference to something that is there")
        return text

    def _check_streams(self) -> None:
        """What no single key can say: systems and contracts that exist, one stream a table."""
        systems = self.data.get("systems")
        readers: dict[tuple[str, str, str], str] = {}
        for name, stream in _sections(self.data.get("streams")):
            path = ("streams", name)
            system = stream.get("system")
            if isinstance(system, str) and isinstance(systems, dict) and system not in systems:
                names = [str(key) for key in systems]
                self._add(
                    (*path, "system"),
                    shown((*path, "system"), system),
                    f"one of {', '.join(names)}",
                    did_you_mean(system, names),
                )
            if isinstance(system, str):
                self._check_way(path, system, stream, readers)
            self._check_after(path, dict(_sections(self.data.get("streams"))))
            contract = stream.get("contract")
            if self.require_contracts and isinstance(contract, str) and not self._exists(contract):
                hint = f"`legacy-bridge draft {name}` prints a first one"
                self._add((*path, "contract"), shown((*path, "contract"), contract), "a file that exists", hint)

    def _check_sinks(self) -> None:
        """What only one sink can have: standard output, a folder."""
        owners: dict[object, str] = {}
        for name, sink in _sections(self.data.get("sinks")):
            if "stdout" in sink and (other := owners.setdefault("stdout", name)) != name:
                self._add(("sinks", name, "stdout"), "is taken", f"one sink on standard output, and that is {other}")
            for _, parquet in _sections({"parquet": sink.get("parquet")}):
                folder = parquet.get("folder")
                if isinstance(folder, str):
                    place = (self.path.parent / folder).resolve()
                    if (other := owners.setdefault(place, name)) != name:
                        path = ("sinks", name, "parquet", "folder")
                        self._add(path, shown(path, folder), f"a folder of its own, unlike {other}")

    def _check_alarms(self) -> None:
        """What differs for a stream, sink or system needs one of that name."""
        for _, alarms in _sections({"alarms": self.data.get("alarms")}):
            for section in ("streams", "sinks", "systems"):
                names = [name for name, _ in _sections(self.data.get(section))]
                for name, _ in _sections(alarms.get(section)):
                    if name not in names:
                        path = ("alarms", section, name)
                        self._add(path, "is not configured", f"one of {', '.join(names)}", did_you_mean(name, names))

    def _check_way(
        self, path: KeyPath, system: str, stream: Mapping[str, Any], readers: dict[tuple[str, str, str], str]
    ) -> None:
        """A stream comes in the way its system is read, and shares its origin with no other."""
        declared = dict(_sections(self.data.get("systems"))).get(system, {})
        kinds = [kind for kind in _WAYS if declared.get(kind) is not None]
        for way, word in _ORIGINS.items():
            origin = stream.get(way)
            if origin is not None and len(kinds) == 1 and way not in _WAYS[kinds[0]]:
                expected = " or ".join(f"`{one}`" for one in _WAYS[kinds[0]])
                self._add((*path, way), shown((*path, way), origin), f"{expected}: {system} is {kinds[0]}")
            if not isinstance(origin, str):
                continue
            if way == "view":  # any number of streams may read one, each with its own parameters
                if not self._exists(origin):
                    self._add((*path, way), shown((*path, way), origin), "a file that exists")
                continue
            if way == "file":  # several streams may take records of several types from one
                layout = stream.get("layout")
                if isinstance(layout, str) and not self._exists(layout):
                    self._add((*path, "layout"), shown((*path, "layout"), layout), "a file that exists")
                continue
            other = readers.setdefault((system, way, origin), path[-1])
            if other != path[-1]:
                self._add(
                    (*path, way),
                    shown((*path, way), origin),
                    f"a {word} that no other stream of {system} reads, unlike {other}",
                )

    def _check_after(self, path: KeyPath, streams: Mapping[str, Mapping[str, Any]]) -> None:
        """What a stream follows is polled on the same system, and the chain has an end."""
        chain, stream = [path[-1]], streams[path[-1]]
        while isinstance(following := stream.get("after"), str):
            peers = [name for name, one in streams.items() if one.get("system") == stream.get("system")]
            polled = [name for name in peers if not _PUSHED & streams[name].keys() and name not in chain]
            if following not in polled:
                problem = shown((*path, "after"), following)
                expected = f"one of {', '.join(polled)}" if polled else "another polled stream of its system"
                self._add((*path, "after"), problem, expected, did_you_mean(following, polled))
                return
            chain.append(following)
            stream = streams[following]

    def _check_principals(self) -> None:
        """Streams that exist, one principal a subject, and tokens only from an issuer that is configured."""
        streams = [name for name, _ in _sections(self.data.get("streams"))]
        issuers = [
            http.get("oidc")
            for _, bridge in _sections({"": self.data.get("bridge")})
            for _, http in _sections({"": bridge.get("http")})
        ]
        owners: dict[str, str] = {}
        for name, principal in _sections(self.data.get("principals")):
            path = ("principals", name)
            for index, stream in enumerate(_listed(principal.get("streams"))):
                if stream != "*" and stream not in streams:
                    place = (*path, "streams", str(index))
                    self._add(
                        place, shown(place, stream), f"* or one of {', '.join(streams)}", did_you_mean(stream, streams)
                    )
            subject = principal.get("subject")
            if isinstance(subject, str):
                other = owners.setdefault(subject, name)
                at = (*path, "subject")
                if other != name:
                    self._add(at, shown(at, subject), f"a subject that no other principal has, unlike {other}")
                if not any(issuers):
                    self._add(at, shown(at, subject), "`bridge.http.oidc` to be configured beside it")

    def _warn_of_plain_keys(self, file: File) -> None:
        http = file.bridge.http
        if file.principals and not is_loopback(http.host) and not (http.public_url or "").startswith("https://"):
            self.warnings.append(
                f"{self._place(('bridge', 'http', 'host'))}: bridge.http.host lets keys and tokens travel in the clear;"
                " listen on loopback behind a proxy that speaks TLS, and name it in bridge.http.public_url"
            )

    def _check_files(self) -> None:
        """Files that libpq will read."""
        for name, system in _sections(self.data.get("systems")):
            for _, postgres in _sections({"postgres": system.get("postgres")}):
                for key in _FILES:
                    path, value = ("systems", name, "postgres", key), postgres.get(key)
                    if isinstance(value, str) and value != "system" and not self._exists(value):
                        self._add(path, shown(path, value), "a file that exists")

    def _exists(self, text: str) -> bool:
        return has_reference(text) or (self.path.parent / text).is_file()

    def _explain(self, finding: Mapping[str, Any]) -> None:
        path = tuple(str(part) for part in finding["loc"])
        if path[-1] == "[key]":
            self._add(path[:-1], "is not a good name", str(finding["ctx"]["error"]))
        elif not any(path[:length] in self.mistakes for length in range(1, len(path) + 1)):
            mistake = explain(finding, place=self._place(path), path=path, value=self._written(path))
            self.mistakes[path] = mistake

    def _add(self, path: KeyPath, problem: str, expected: str, hint: str = "") -> None:
        self.mistakes.setdefault(path, Mistake(self._place(path), ".".join(path), problem, expected, hint))

    def _written(self, path: KeyPath) -> object:
        node: Any = self.data
        for part in path:
            node = node[int(part)] if isinstance(node, list) else node.get(part) if isinstance(node, dict) else None
        return node

    def _place(self, path: KeyPath) -> str:
        variable = self.variables.get(path)
        return f"${variable}" if variable else f"{self.document.file}:{self._line(path)}"

    def _line(self, path: KeyPath) -> int:
        """The line of a key, or of the nearest section around one that is missing."""
        return self.document.line_of(tuple(int(part) if part.isdigit() else part for part in path))

    def _order(self, mistake: Mistake) -> tuple[int, str]:
        return self._line(tuple(mistake.key.split("."))), mistake.key


_ABSENT = object()
_PUSHED = {"log", "webhook", "queue", "file"}  # ways of streams that have no schedule
_ORIGINS = {  # in words, by the stream's key
    "log": "table",
    "view": "view",
    "resource": "resource",
    "webhook": "path",
    "queue": "queue",
    "file": "pattern",
}
# Those keys, by the system's kind.
_WAYS = {
    "postgres": ("log", "view"),
    **dict.fromkeys(DATABASES, ("view",)),
    "webhook": ("webhook",),
    "amqp": ("queue",),
    "rest": ("resource",),
    "file": ("file",),
}


def _listed(node: object) -> list[str]:
    """The names in a list, or in the text that an environment variable gives."""
    names = split(node)
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _sections(node: object) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, section in node.items() if isinstance(node, dict) else ():
        if isinstance(section, dict):
            yield str(name), section


def _digest(file: File) -> str:
    def text(value: object) -> str:
        return value.reference if isinstance(value, Secret) else str(value)

    canonical = json.dumps(file.model_dump(), default=text, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
