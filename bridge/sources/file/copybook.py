"""COBOL copybooks: entries with their clauses, as a tree.

Every clause is understood or refused with file and line; nothing is skipped silently. Values and conditions (88) say
nothing of where bytes stand and are read over. SYNC, 66, 77 and 78 are refused, as are pointers, indexes and objects.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bridge.errors import ConfigError
from bridge.sources.file import picture
from bridge.sources.file.copytext import Word, sentences
from bridge.sources.file.fields import UnreadableLayout
from bridge.sources.file.picture import Picture

_USAGES = {
    "DISPLAY": "display",
    "COMP-1": "float", "COMPUTATIONAL-1": "float",
    "COMP-2": "double", "COMPUTATIONAL-2": "double",
    "COMP-3": "packed", "COMPUTATIONAL-3": "packed", "PACKED-DECIMAL": "packed",
    "COMP": "binary", "COMPUTATIONAL": "binary", "COMP-4": "binary", "COMPUTATIONAL-4": "binary", "BINARY": "binary",
    "COMP-5": "native", "COMPUTATIONAL-5": "native",
}  # fmt: skip
_OTHER_USAGES = {
    "INDEX", "POINTER", "PROCEDURE-POINTER", "FUNCTION-POINTER", "OBJECT", "NATIONAL", "DISPLAY-1", "COMP-6", "COMP-X",
    "COMP-N", "COMPUTATIONAL-6", "COMPUTATIONAL-X", "BINARY-CHAR", "BINARY-SHORT", "BINARY-LONG", "BINARY-DOUBLE",
    "FLOAT-SHORT", "FLOAT-LONG",
}  # fmt: skip
_FILLER = "FILLER"
_RENAMES, _STANDALONE, _CONSTANT, _CONDITION = 66, 77, 78, 88
_LAST_LEVEL = 49
_WORD = re.compile(r"(?=.*[^\W\d_])[\w#@$-]{1,64}")


@dataclass(slots=True)
class Entry:
    """One data description entry."""

    level: int
    name: str  # FILLER where there is none
    word: Word  # its level number, for messages
    picture: Picture | None = None
    usage: str | None = None  # display, packed, binary, native, float, double; None: the group's
    sign: tuple[bool, bool] | None = None  # leading, separate; None: the group's
    redefines: str | None = None
    least: int = 1
    most: int = 1  # entries of a table
    is_table: bool = False
    depending: str | None = None
    blank_zero: bool = False
    children: list["Entry"] = field(default_factory=list)

    @property
    def is_filler(self) -> bool:
        """Whether it has no name."""
        return self.name == _FILLER


def read(path: Path, record: str | None = None) -> Entry:
    """The record that a copybook describes.

    Args:
        path: the copybook.
        record: the name of its level 01, where there are several.
    Raises: ConfigError with file and line.
    """
    entries = [_Clauses(sentence).entry() for sentence in sentences(path)]
    roots = _tree([entry for entry in entries if entry is not None])
    if not roots:
        raise ConfigError(f"{path}: describes no record")
    if record is None and len(roots) == 1:
        return roots[0]
    for root in roots:
        if record is not None and root.name == record.upper():
            return root
    names = ", ".join(root.name for root in roots)
    raise ConfigError(f"{path}: name one of its records with `record_name`: {names}")


def _tree(entries: list[Entry]) -> list[Entry]:
    """Entries below the groups they belong to; a copybook that begins below 01 is one record."""
    if entries and entries[0].level > 1:
        entries = [Entry(1, _FILLER, entries[0].word), *entries]
    roots: list[Entry] = []
    stack: list[Entry] = []
    for entry in entries:
        while stack and stack[-1].level >= entry.level:
            stack.pop()
        if not stack and entry.level != 1:
            raise entry.word.mistake(f"level {entry.level:02} stands in no record")
        if stack and stack[-1].children and stack[-1].children[0].level != entry.level:
            raise entry.word.mistake(
                f"level {entry.level:02} stands beside level {stack[-1].children[0].level:02}; expected the same"
            )
        (stack[-1].children if stack else roots).append(entry)
        stack.append(entry)
    for entry in entries:
        _check(entry)
    return roots


def _check(entry: Entry) -> None:
    what = None
    if entry.children and entry.picture is not None:
        what = "has both a PIC and entries below it"
    elif not entry.children and entry.picture is None and entry.usage not in ("float", "double"):
        what = "has neither a PIC nor entries below it"
    elif entry.picture is not None and entry.usage in ("float", "double"):
        what = "has a PIC, which its usage does not take"
    elif entry.picture is not None and not entry.picture.is_number and entry.usage not in (None, "display"):
        what = "is text, and its usage is for numbers"
    elif entry.picture is not None and (entry.sign or entry.blank_zero) and entry.usage not in (None, "display"):
        what = "has a SIGN or BLANK WHEN ZERO, which its usage does not take"
    elif entry.picture is not None and entry.sign and not entry.picture.signed:
        what = "has a SIGN, and its PIC no S"
    elif entry.level == 1 and (entry.is_table or entry.redefines):
        what = "is a whole record and can neither repeat nor redefine"
    if what:
        raise entry.word.mistake(f"{entry.name} {what}")


class _Clauses:
    """One sentence, read word by word."""

    def __init__(self, sentence: list[Word]) -> None:
        self._words = sentence
        self._at = 0

    def entry(self) -> Entry | None:
        """The entry, or None for a condition name."""
        first = self._next("a level number")
        if not first.text.isdigit():
            raise first.mistake(f"`{first.text}` is not a level number")
        level = int(first.text)
        if level == _CONDITION:
            return None
        refused = {_RENAMES: "RENAMES", _STANDALONE: "no part of a record", _CONSTANT: "a constant"}.get(level)
        if refused or not 1 <= level <= _LAST_LEVEL:
            raise first.mistake(f"level {level:02} ({refused or 'unknown'}) is not supported")
        entry = Entry(level, self._name(), first)
        while (word := self._peek()) is not None:
            self._at += 1
            clause = _CLAUSES.get(word.upper)
            if clause is None:
                self._usage(entry, word)
            else:
                clause(self, entry, word)
        return entry

    def _peek(self) -> Word | None:
        return self._words[self._at] if self._at < len(self._words) else None

    def _next(self, expected: str) -> Word:
        word = self._peek()
        if word is None:
            raise self._words[-1].mistake(f"expected {expected} after `{self._words[-1].text}`")
        self._at += 1
        return word

    def _skip(self, *words: str) -> bool:
        word = self._peek()
        if word is not None and not word.is_literal and word.upper in words:
            self._at += 1
            return True
        return False

    def _name(self) -> str:
        word = self._peek()
        if word is None or word.upper in _CLAUSES or word.upper in _USAGES or word.upper in _OTHER_USAGES:
            return _FILLER
        if not _WORD.fullmatch(word.text):
            raise word.mistake(f"`{word.text}` is not a name", hint="Write what it stands for out in a file.")
        self._at += 1
        return word.upper

    def _number(self) -> int:
        word = self._next("a number")
        if not word.text.isdigit() or len(word.text) > 7:  # noqa: PLR2004  digits of the largest table
            raise word.mistake(f"`{word.text}` is not a number of entries")
        return int(word.text)

    def picture(self, entry: Entry, word: Word) -> None:
        self._skip("IS")
        text = self._next("a picture")
        if entry.picture is not None:
            raise word.mistake(f"{entry.name} has two pictures")
        try:
            entry.picture = picture.parse(text.text)
        except UnreadableLayout as error:
            raise text.mistake(str(error)) from error

    def usage(self, entry: Entry, word: Word) -> None:
        self._skip("IS")
        self._usage(entry, self._next(f"a usage after {word.text}"))

    def _usage(self, entry: Entry, word: Word) -> None:
        found = _USAGES.get(word.upper)
        if found is None:
            what = f"usage {word.text}" if word.upper in _OTHER_USAGES else f"`{word.text}`"
            raise word.mistake(f"{what} is not supported")
        if entry.usage is not None:
            raise word.mistake(f"{entry.name} has two usages")
        entry.usage = found

    def redefines(self, entry: Entry, word: Word) -> None:  # noqa: ARG002  each clause is called alike
        entry.redefines = self._next("a name").upper

    def occurs(self, entry: Entry, word: Word) -> None:
        entry.is_table = True
        entry.least = entry.most = self._number()
        ranges = self._skip("TO")
        if ranges:
            entry.most = self._number()
        self._skip("TIMES")
        while True:
            if self._skip("DEPENDING"):
                self._skip("ON")
                entry.depending = self._next("a name").upper
                if self._skip("OF", "IN"):
                    raise word.mistake("DEPENDING ON takes a name without OF")
            elif self._skip("ASCENDING", "DESCENDING"):
                self._skip("KEY")
                self._skip("IS")
                self._names()
            elif self._skip("INDEXED"):
                self._skip("BY")
                self._names()
            else:
                break
        if entry.depending is None and ranges:
            raise word.mistake("OCCURS ... TO ... takes DEPENDING ON")
        if entry.depending is not None and not ranges:
            entry.least = 0
        if entry.most < max(1, entry.least):
            raise word.mistake(f"a table of {entry.least} to {entry.most} entries")

    def _names(self) -> None:
        while (word := self._peek()) is not None and word.upper not in _CLAUSES and word.upper not in _WORDS:
            self._at += 1

    def sign(self, entry: Entry, word: Word) -> None:
        if word.upper == "SIGN":
            self._skip("IS")
            word = self._next("LEADING or TRAILING")
            if word.upper not in ("LEADING", "TRAILING"):
                raise word.mistake(f"SIGN takes LEADING or TRAILING, not `{word.text}`")
        separate = self._skip("SEPARATE")
        self._skip("CHARACTER")
        entry.sign = (word.upper == "LEADING", separate)

    def value(self, entry: Entry, word: Word) -> None:  # noqa: ARG002  as above
        self._skip("IS", "ARE")
        self._skip("ALL")
        self._next("a value")

    def justified(self, entry: Entry, word: Word) -> None:  # noqa: ARG002  as above
        self._skip("RIGHT")

    def blank(self, entry: Entry, word: Word) -> None:
        self._skip("WHEN")
        if not self._skip("ZERO", "ZEROS", "ZEROES"):
            raise word.mistake("expected BLANK WHEN ZERO")
        entry.blank_zero = True

    def whole(self, entry: Entry, word: Word) -> None:
        self._skip("IS")
        if entry.level != 1:
            raise word.mistake(f"{word.text} is for level 01")

    def refuse(self, entry: Entry, word: Word) -> None:  # noqa: ARG002  as above
        raise word.mistake(
            f"{word.text} is not supported", hint="Write the slack bytes out as FILLER and leave the clause away."
        )


_CLAUSES: dict[str, Callable[[_Clauses, Entry, Word], None]] = {
    "PIC": _Clauses.picture, "PICTURE": _Clauses.picture,
    "USAGE": _Clauses.usage,
    "REDEFINES": _Clauses.redefines,
    "OCCURS": _Clauses.occurs,
    "SIGN": _Clauses.sign, "LEADING": _Clauses.sign, "TRAILING": _Clauses.sign,
    "VALUE": _Clauses.value, "VALUES": _Clauses.value,
    "JUST": _Clauses.justified, "JUSTIFIED": _Clauses.justified,
    "BLANK": _Clauses.blank,
    "EXTERNAL": _Clauses.whole, "GLOBAL": _Clauses.whole,
    "SYNC": _Clauses.refuse, "SYNCHRONIZED": _Clauses.refuse,
}  # fmt: skip
_WORDS = frozenset({"DEPENDING", "ASCENDING", "DESCENDING", "INDEXED", *_USAGES, *_OTHER_USAGES})
