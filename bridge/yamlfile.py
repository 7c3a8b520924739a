"""Read YAML files that people write: plain data with the line of every value, safe against hostile input.

Promises: YAML 1.2 scalars (`NO`, `yes`, `on` are text; `0x1F` and `0o17` are numbers), a key given twice is an error,
no tags that build objects, bounded size, depth and alias expansion, every mistake named as `file:line`. Keys are always
text, and `.inf`/`.nan` stay text since no document of ours has a use for them. It does not know what the data means
and leaves `${...}` references untouched.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bridge.errors import ConfigError

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_VALUES = 50_000  # counted after aliases are expanded, so a billion laughs ends here

_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_REFERENCE = re.compile(r"\$\{([^{}\n]*)\}")
_SHIELDED = re.compile("\\$\ue000([^{}\n]*)\ue001")
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}\Z")
_PREFIXED = re.compile(r"0x[0-9a-fA-F]{1,4000}\Z|0o[0-7]{1,4000}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")

DataPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The content of one YAML file and where each value stands."""

    file: str  # as it is named in messages
    data: Any  # dict, list, str, int, float, bool, None
    lines: Mapping[DataPath, int]  # by path from the root; a mapping's entry has the line of its key

    def line_of(self, path: DataPath) -> int:
        """Line, from 1, of the value at `path`, or of the nearest value above it that exists."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def at(self, path: DataPath) -> str:
        """The place of `path` for messages: ``file:line``."""
        return f"{self.file}:{self.line_of(path)}"


def read(path: Path) -> Document:
    """Read one UTF-8 file. Raises: ConfigError naming the file, and the line where there is one."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        text = content[:MAX_BYTES].decode() if len(content) > MAX_BYTES else content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text", hint="Save the file as UTF-8.") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES} bytes", hint="Split the file.")
    return parse(text, file=str(path))


def parse(text: str, *, file: str) -> Document:
    """Parse one YAML document.

    Args:
        text: the whole file.
        file: its name for messages.
    Raises: ConfigError naming file and line.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{file}: is larger than {MAX_BYTES} bytes", hint="Split the file.")
    builder = _Builder(file)
    try:
        data = builder.document(yaml.parse(_shield(text), Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{file}:{line}: is not YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise ConfigError(f"{file}: is not YAML: {getattr(error, 'reason', 'it cannot be parsed')}") from error
    return Document(file, data, builder.lines)


@dataclass(frozen=True, slots=True)
class _Node:
    """One parsed value; an alias shares the node of its anchor."""

    line: int
    value: Any  # a scalar's Python value, a list of nodes, or a list of (key, key line, node)
    kind: type  # dict, list or object for a scalar


class _Builder:
    """Turns parser events into data, counting depth and expanded size as it goes.

    Works on events since PyYAML's own composer recurses without a bound.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[DataPath, int] = {}
        self._anchors: dict[str, _Node] = {}
        self._count = 0

    def document(self, events: Iterator[Any]) -> Any:
        root: _Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._mistake(event, "a second document begins; one file holds one document")
                root = self._node(events, next(events), 0)
        return self._expand(root, (), 0) if root is not None else None

    def _mistake(self, event: Any, what: str, *, hint: str | None = None) -> ConfigError:
        return ConfigError(f"{self.file}:{_line(event)}: {what}", hint=hint)

    def _node(self, events: Iterator[Any], event: Any, depth: int) -> _Node:
        line = _line(event)
        if depth > MAX_DEPTH:
            raise self._mistake(event, f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._mistake(event, f"no anchor `&{event.anchor}` stands before this alias")
            return self._anchors[event.anchor]
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(line, self._scalar(event), object)
        elif event.tag is not None:
            raise self._mistake(event, f"the tag `{event.tag}` is not allowed", hint="Write plain YAML without tags.")
        elif isinstance(event, yaml.SequenceStartEvent):
            node = _Node(line, self._items(events, depth), list)
        else:
            node = _Node(line, self._entries(events, depth), dict)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _items(self, events: Iterator[Any], depth: int) -> list[_Node]:
        nodes: list[_Node] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            nodes.append(self._node(events, event, depth + 1))
        return nodes

    def _entries(self, events: Iterator[Any], depth: int) -> list[tuple[str, int, _Node]]:
        entries: dict[str, tuple[str, int, _Node]] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._mistake(event, "a key must be plain text")
            key, line = _unshield(event.value), _line(event)
            if key == "<<":
                raise self._mistake(event, "merge keys (`<<`) are not part of YAML 1.2", hint="Write the keys out.")
            if key in entries:
                raise self._mistake(event, f"the key `{key[:80]}` was already given on line {entries[key][1]}")
            entries[key] = (key, line, self._node(events, next(events), depth + 1))
        return list(entries.values())

    def _scalar(self, event: Any) -> Any:
        if event.tag is not None and event.tag not in _TEXT_TAGS:
            raise self._mistake(event, f"the tag `{event.tag}` is not allowed", hint="Write plain YAML without tags.")
        plain, text = event.implicit[0], _unshield(event.value)
        return _resolve(text) if plain else text

    def _expand(self, node: _Node, path: DataPath, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_VALUES or depth > MAX_DEPTH:
            raise ConfigError(
                f"{self.file}:{node.line}: holds more than {MAX_VALUES} values or {MAX_DEPTH} levels "
                "once its aliases are expanded",
                hint="Split the file, or use fewer aliases.",
            )
        self.lines.setdefault(path, node.line)
        if node.kind is list:
            return [self._expand(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        if node.kind is dict:
            self.lines.update({(*path, key): line for key, line, _ in node.value})
            return {key: self._expand(item, (*path, key), depth + 1) for key, _, item in node.value}
        return node.value


def _shield(text: str) -> str:
    """Stand-ins for the braces of ``${...}``, which would end a plain value inside ``{password: ${file:a}}``."""
    return _REFERENCE.sub("$\ue000\\1\ue001", text)


def _unshield(text: str) -> str:
    return _SHIELDED.sub(r"${\1}", text)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _resolve(text: str) -> Any:
    """The value of a plain scalar under the YAML 1.2 core schema."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.match(text):
        return int(text)
    if _PREFIXED.match(text):
        return int(text, 0)
    return float(text) if _FLOAT.match(text) else text
