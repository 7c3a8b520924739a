"""The text of a copybook as sentences: fixed or free form, comments, continued lines, COPY members.

Fixed form has its code in columns 8 to 72 and an indicator in column 7; which form a file has is seen from its lines.
A member is looked for beside the file that copies it, as NAME, NAME.cpy, NAME.cbl and in lower case; nothing outside
that folder is opened. REPLACING is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import ConfigError

MAX_BYTES = 4 << 20
MAX_DEPTH = 8  # of members that copy members
_TOKEN = re.compile(r"""[XNZGxnzg]?"(?:[^"]|"")*"?|[XNZGxnzg]?'(?:[^']|'')*'?|[^\s"']+""")
_MEMBER = re.compile(r"[A-Za-z0-9#$@_-]{1,64}(?:\.[A-Za-z0-9]{1,8})?")
_SEQUENCE = re.compile(r" {6}|\S{6}|[^\s0-9]\S{0,4} *| *[0-9]{3,5} *")  # blank, full, a tag, or a number no level has
_LISTING = re.compile(r"\s*(?:EJECT|SKIP[123])\s*\.?\s*", re.IGNORECASE)  # says how IBM's listings look, and no more
_LAST_COLUMN = 80
_INDICATORS = ("", " ", "*", "/", "-", "D", "d", "$")
_SUFFIXES = ("", ".cpy", ".cbl", ".CPY", ".CBL")


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or a literal with its quotes."""

    text: str
    file: str
    line: int

    @property
    def upper(self) -> str:
        """As COBOL compares words."""
        return self.text.upper()

    @property
    def is_literal(self) -> bool:
        """Whether it stood in quotes."""
        return self.text[-1:] in ("'", '"')

    def mistake(self, what: str, *, hint: str | None = None) -> ConfigError:
        """An error at this word."""
        return ConfigError(f"{self.file}:{self.line}: {what}", hint=hint)


def sentences(path: Path, *, _depth: int = 0) -> Iterator[list[Word]]:
    """The sentences of a copybook and of the members it copies, without their periods.

    Raises: ConfigError with file and line.
    """
    sentence: list[Word] = []
    for word in _words(path):
        if word.text != ".":
            sentence.append(word)
            continue
        if sentence and sentence[0].upper == "COPY":
            yield from sentences(_member(path, sentence, _depth), _depth=_depth + 1)
        elif sentence:
            yield sentence
        sentence = []
    if sentence:
        raise sentence[0].mistake("this entry does not end with a period")


def _member(path: Path, sentence: list[Word], depth: int) -> Path:
    copy = sentence[0]
    if depth >= MAX_DEPTH:
        raise copy.mistake(f"members are copied more than {MAX_DEPTH} deep")
    if len(sentence) != 2:  # noqa: PLR2004  COPY and a name
        raise copy.mistake("COPY takes a name and nothing else", hint="Write the replaced text out in a file.")
    name = sentence[1].text.strip("'\"")
    if not _MEMBER.fullmatch(name):
        raise copy.mistake(f"COPY {name}: is not the name of a member")
    for stem in (name, name.lower(), name.upper()):
        for suffix in _SUFFIXES:
            found = path.parent / (stem + suffix)
            if found.is_file():
                return found
    raise copy.mistake(f"COPY {name}: there is no such member in {path.parent}")


def _words(path: Path) -> Iterator[Word]:
    file = str(path)
    for number, code in _code(path):
        for token in _TOKEN.findall(code):
            if token[-1:] in ("'", '"') and len(token.lstrip("XNZGxnzg")) > 1:
                yield Word(token, file, number)
                continue
            if token[:1] in ("'", '"'):
                raise ConfigError(f"{file}:{number}: a literal has no closing quote")
            bare = (
                token[:-1] if token.endswith(".") else token.rstrip(",;")
            )  # a picture may end with a point of its own
            if bare:
                yield Word(bare, file, number)
            if token.endswith("."):
                yield Word(".", file, number)


def _code(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of code, continued literals put together."""
    lines = _lines(path)
    is_fixed = all(_is_fixed(line) for line in lines if line.strip())
    held: tuple[int, str] | None = None
    for number, line in enumerate(lines, 1):
        indicator, code = (line[6:7], line[7:72]) if is_fixed else ("", line)
        if indicator in ("*", "/", "D", "d") or code.lstrip().startswith("*") or _LISTING.fullmatch(code):
            continue
        code = re.sub(r"(?<!\S)\*>.*", "", code)
        if indicator == "-" and held is not None:
            more = code.lstrip()
            held = (held[0], held[1] + more[1:] if more[:1] in ("'", '"') else held[1].rstrip() + more)
            continue
        if held is not None:
            yield held
        held = (number, code.ljust(65) if is_fixed and code.count("'") % 2 + code.count('"') % 2 else code)
    if held is not None:
        yield held


def _is_fixed(line: str) -> bool:
    """Whether a line may be one of fixed form; what goes on behind its last column is none, and is not cut."""
    indicator = line[6:7]
    goes_on = indicator not in ("*", "/") and re.search(r"\s\S", line[_LAST_COLUMN - 1 :])
    return bool(_SEQUENCE.fullmatch(line[:6].ljust(6))) and indicator in _INDICATORS and not goes_on


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # comments; names and clauses are ASCII
    return [line.expandtabs(8).rstrip("\x1a") for line in re.split(r"\r\n?|\n", text)]
