"""View files: one SELECT in plain SQL under a header of comments that says how it is to be read.

The header is the comment lines at the top. A line `-- word: value` with a small first letter sets a key; any other
comment is for people. What the SQL may say is `lint`'s; docs/views.md has the keys.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bridge.config.mistakes import InvalidConfig, Mistake, did_you_mean
from bridge.errors import ConfigError
from bridge.extraction.extractor import Subject
from bridge.sources.view.parameters import TYPES, Parameter, read_parameter

Mode = Literal["incremental", "full", "append"]
MODES: tuple[Mode, ...] = ("incremental", "full", "append")
MAX_PAGE_ROWS = 1_000_000
_MAX_FILE_BYTES = 256 << 10
_MAX_TIMEOUT_S = 3600.0

_LINE = re.compile(r"\s*--\s*([a-z][a-z_]*)\s*:\s*(.*?)\s*")
_COMMENT = re.compile(r"\s*(--.*)?")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_FUNCTION = re.compile(r"[\w$]+(\.[\w$]+)*")


@dataclass(frozen=True, slots=True)
class View:
    """One view file; nothing of it is checked against a database yet."""

    path: Path
    name: str  # the file's name without its ending
    sql: str  # the file's text with the header blanked: line numbers are the file's
    mode: Mode
    key: tuple[str, ...] = ()  # columns of the result that name a row, as the database spells them
    cursor: str | None = None  # column of the result that grows with every change of a row
    page_rows: int = 20_000
    statement_timeout_s: float = 30.0
    freshness_s: float = 0.0  # how far the view may lag behind what it shows (a replica, a materialized view)
    overlap: tuple[float, float] = (60.0, 3600.0)  # least and most that a commit may come late: seconds, else cursors
    parameters: tuple[Parameter, ...] = ()
    allowed: frozenset[str] = frozenset()  # functions and types that the author signs for, lower case
    digest: str = ""  # SHA-256 of the file

    def subject(self, stream: str) -> Subject:
        """What extraction has to know of it."""
        return Subject(
            stream, self.key, self.cursor, self.mode, self.page_rows, overlap=self.overlap, freshness_s=self.freshness_s
        )

    def whole(self) -> "View":
        """The view read whole and in order of key, whatever its mode."""
        return replace(self, mode="full", cursor=None)

    def given(self, values: Mapping[str, Any]) -> "View":
        """The view with these values of its parameters.

        Raises: ConfigError for a parameter it does not have, a value of another type, and one that has no value.
        """
        known = [parameter.name for parameter in self.parameters]
        for name in values:
            if name not in known:
                hint = did_you_mean(name, known) or f"Its parameters are: {', '.join(known) or 'none'}."
                raise ConfigError(f"view {self.path} has no parameter {name!r}", hint=hint)
        parameters = tuple(
            parameter.given(values[parameter.name]) if parameter.name in values else parameter
            for parameter in self.parameters
        )
        missing = [parameter.name for parameter in parameters if not parameter.has_value]
        if missing:
            raise ConfigError(
                f"view {self.path} needs a value for {', '.join(missing)}",
                hint="Give it under the stream's `parameters`, or a default in the view's header.",
            )
        return replace(self, parameters=parameters)


def load(path: Path) -> View:
    """Read a view file. Raises: ConfigError with every mistake of the header, each with file and line."""
    try:
        content = path.read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"view {path} cannot be read: {error}") from error
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigError(f"view {path} has {len(content)} bytes; a view has at most {_MAX_FILE_BYTES}")
    return parse(text, path)


def parse(text: str, path: Path) -> View:
    """The view in a file's text; raises as `load`."""
    reading = _Header(path)
    text = text.removeprefix("\ufeff")  # that editors on Windows begin a file with
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n") if text else []
    body = next((at for at, line in enumerate(lines) if not _COMMENT.fullmatch(line)), len(lines))
    for number, line in enumerate(lines[:body], start=1):
        if match := _LINE.fullmatch(line):
            reading.take(number, match[1], match[2])
    view = View(
        path=path,
        name=path.stem,
        sql="\n".join([""] * body + lines[body:]),
        digest=hashlib.sha256(text.encode()).hexdigest(),
        **reading.values,
        mode=reading.mode,
        parameters=tuple(reading.parameters),
    )
    for number, line in enumerate(lines, start=1):
        if _CONTROL.search(line):  # a driver would end the statement at one, or a server and lint differ over it
            reading.object(number, "the file", "has a control character", expected="plain text")
    if body == len(lines):
        reading.object(len(lines) or 1, "the SQL", "is missing", expected="a SELECT below the header")
    reading.judge(view)
    return view


class _Header:
    """One pass over the header: what it sets, and every mistake."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self.mode: Mode = "full"
        self.parameters: list[Parameter] = []
        self._lines: dict[str, int] = {}
        self._mistakes: list[tuple[int, Mistake]] = []

    def take(self, line: int, word: str, text: str) -> None:
        if word == "parameter":
            self._take_parameter(line, text)
            return
        if word not in _KEYS:
            known = [*_KEYS, "parameter"]
            hint = did_you_mean(word, known) or "begin a remark for people with a capital letter"
            self.object(line, word, "is not a known key", expected=f"one of {', '.join(known)}", hint=hint)
            return
        if word in self._lines:
            self.object(line, word, f"was set in line {self._lines[word]}", expected="each key once")
            return
        self._lines[word] = line
        name, expected, read = _KEYS[word]
        value = read(text)
        if value is None:
            self.object(line, word, f"is {text[:60]!r}", expected=expected)
        elif name == "mode":
            self.mode = value
        else:
            self.values[name] = value

    def _take_parameter(self, line: int, text: str) -> None:
        try:
            parameter = read_parameter(text)
        except ConfigError as error:
            expected = f"NAME TYPE = DEFAULT, the default left out at will, TYPE one of {', '.join(TYPES)}"
            self.object(line, "parameter", error.detail, expected=expected)
            return
        if any(parameter.name == other.name for other in self.parameters):
            self.object(line, "parameter", f"{parameter.name} stands twice", expected="each parameter once")
            return
        self.parameters.append(parameter)

    def object(self, line: int, key: str, problem: str, *, expected: str, hint: str = "") -> None:
        self._mistakes.append((line, Mistake(f"{self.path}:{line}", key, problem, expected, hint)))

    def judge(self, view: View) -> None:
        """What no single line can say. Raises: InvalidConfig when there is any mistake."""
        for key, problem, expected in _objections(view, "mode" in self._lines):
            self.object(self._lines.get(key, self._lines.get("mode", 1)), key, problem, expected=expected)
        if self._mistakes:
            ordered = sorted(self._mistakes, key=lambda found: found[0])
            raise InvalidConfig(str(self.path), [mistake for _, mistake in ordered])


def _objections(view: View, has_mode: bool) -> Iterator[tuple[str, str, str]]:  # noqa: FBT001  one private caller
    if not has_mode:
        yield "mode", "is missing", f"one of {', '.join(MODES)}"
        return
    if not view.key and view.mode != "append":
        yield "key", "is missing", f"the columns that name a row: `{view.mode}` compares by them"
    if view.cursor is None and view.mode != "full":
        yield "cursor", "is missing", f"the column that grows with every change: `{view.mode}` goes on from it"
    if view.cursor is not None and view.mode == "full":
        yield "cursor", "is set", "no cursor: `full` reads everything, in order of the key"


def seconds(text: str) -> float | None:
    """A duration like 500ms, 30s, 5m, 2h or 1d; None for anything else."""
    match = _DURATION.fullmatch(text)
    return float(match[1]) * _UNITS[match[2]] if match else None


def _names(text: str) -> tuple[str, ...] | None:
    names = tuple(part.strip() for part in text.split(","))
    return names if all(names) and len(set(names)) == len(names) else None


def _name(text: str) -> str | None:
    return text if text and "," not in text else None


def _mode(text: str) -> str | None:
    return text if text in MODES else None


def _page_rows(text: str) -> int | None:
    plain = text.replace("_", "")
    return int(plain) if plain.isascii() and plain.isdigit() and 1 <= int(plain[:9]) <= MAX_PAGE_ROWS else None


def _timeout(text: str) -> float | None:
    value = seconds(text)
    return value if value is not None and 0 < value <= _MAX_TIMEOUT_S else None


def _overlap(text: str) -> tuple[float, float] | None:
    least, _, most = (part.strip() for part in text.partition(","))
    bounds = tuple(float(part) if part.isascii() and part.isdigit() else seconds(part) for part in (least, most))
    if bounds[0] is None or bounds[1] is None or bounds[0] > bounds[1]:
        return None
    return bounds[0], bounds[1]


def _functions(text: str) -> frozenset[str] | None:
    names = _names(text)
    return frozenset(map(str.lower, names)) if names and all(map(_FUNCTION.fullmatch, names)) else None


_Read = Callable[[str], Any]
# By the word in the file: the view's field, what is expected of it, how it is read (None: not that).
_KEYS: Mapping[str, tuple[str, str, _Read]] = {
    "key": ("key", "names of columns, like cust_no or company, cust_no", _names),
    "cursor": ("cursor", "the name of one column", _name),
    "mode": ("mode", f"one of {', '.join(MODES)}", _mode),
    "page_rows": ("page_rows", f"a whole number from 1 to {MAX_PAGE_ROWS}", _page_rows),
    "statement_timeout": ("statement_timeout_s", "a time of at most 1h, like 500ms, 30s or 2m", _timeout),
    "freshness": ("freshness_s", "a time like 30s, 15m or 1d", seconds),
    "overlap": ("overlap", "least and most that a commit may come late, like 1m, 1h", _overlap),
    "allow": ("allowed", "names of functions or types, like sales.price_of", _functions),
}
