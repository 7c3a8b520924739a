"""From the tree of a copybook to fields at their places.

Names are COBOL's in lower case with underscores, qualified by their groups where two would be alike; entries of a table
have their numbers behind the name (`qty_1`, `qty_2`, in two dimensions `qty_1_2`). FILLER has no field. Every view of a
REDEFINES has its fields. A table that depends on a counter is placed anew for each count: what follows it slides, as
IBM's compilers have it, or stays where it is at most, as GnuCOBOL has it.
"""

from collections import Counter as Tally
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from bridge.sources.file.copybook import Entry
from bridge.sources.file.fields import Counter, Field, Form, Kind, Placed, UnreadableLayout

MAX_FIELDS = 20_000
MAX_LENGTH = 1 << 22
_BY_DIGITS = {
    "ibm": ((4, 2), (9, 4), (18, 8)),
    "gnucobol": ((2, 1), (4, 2), (9, 4), (18, 8)),
}  # digits up to, size in bytes


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the compiler that wrote a file did where the standard leaves it open."""

    sizes: tuple[tuple[int, int], ...]  # of binary numbers
    little: bool  # COMP-5, COMP-1 and COMP-2
    hexfloat: bool
    slides: bool


DIALECTS = {
    "ibm": Dialect(_BY_DIGITS["ibm"], little=False, hexfloat=True, slides=True),
    "gnucobol": Dialect(_BY_DIGITS["gnucobol"], little=True, hexfloat=False, slides=False),
}


class Record:
    """A copybook's record.

    Args:
        root: the tree.
        dialect: of the compiler.
    Raises: ConfigError with file and line.
    """

    def __init__(self, root: Entry, dialect: Dialect) -> None:
        self._root = root
        self._dialect = dialect
        self.counters: tuple[Counter, ...] = ()
        first = _Walk(root, dialect, {})
        self._names = _names(first)
        self._called = {
            (id(entry), index): self._names[id(entry)] + "".join(f"_{one}" for one in index)
            for entry, index, *_ in first.found
        }
        whole = self._placed(first)
        self.fields, self.length = whole.fields, whole.length
        self._tables = [id(entry) for entry in first.variable]
        self.counters = tuple(self._counter(entry, first) for entry in first.variable)
        self.at = lru_cache(maxsize=4096)(self._at)

    def _at(self, counts: tuple[int, ...], wanted: tuple[str, ...] | None = None) -> Placed:
        """The fields, or the wanted ones, when the counters have these values, in their order."""
        walk = _Walk(self._root, self._dialect, dict(zip(self._tables, counts, strict=True)))
        return self._placed(walk, None if wanted is None else frozenset(wanted))

    def _placed(self, walk: "_Walk", wanted: Collection[str] | None = None) -> Placed:
        fields = tuple(
            Field(name, offset, length, form, entry.word.line)
            for entry, index, offset, length, form in walk.found
            if (name := self._called[id(entry), index]) and (wanted is None or name in wanted)
        )
        return Placed(fields, walk.needed)

    def _counter(self, table: Entry, walk: "_Walk") -> Counter:
        named = [(entry, index, offset) for entry, index, offset, _, _ in walk.found if entry.name == table.depending]
        if len(named) != 1:
            raise table.word.mistake(f"{table.name} depends on {table.depending}, which is not one field of the record")
        if walk.first_variable is not None and named[0][2] >= walk.first_variable:
            raise table.word.mistake(f"{table.depending} stands behind a table of variable size")
        field = next(field for field in self.fields if field.name == self._names[id(named[0][0])])
        if field.form.kind not in (Kind.ZONED, Kind.PACKED, Kind.BINARY) or field.form.scale:
            raise table.word.mistake(f"{table.depending} is not a whole number")
        return Counter(field, table.least, table.most)


class _Walk:
    """One pass over the tree that gives every field its place.

    Args:
        root: the tree.
        dialect: of the compiler.
        counts: entries of each variable table, by its identity; the most where one is absent.
    """

    def __init__(self, root: Entry, dialect: Dialect, counts: Mapping[int, int]) -> None:
        self.root = root
        self._dialect = dialect
        self._counts = counts
        self.found: list[tuple[Entry, tuple[int, ...], int, int, Form]] = []
        self.variable: list[Entry] = []
        self.first_variable: int | None = None
        self.needed = 0
        self._walk(root, 0, (), usage="display", sign=(False, False))
        if self.needed == 0:
            raise root.word.mistake("the record has no length")

    def _walk(self, entry: Entry, offset: int, index: tuple[int, ...], *, usage: str, sign: tuple[bool, bool]) -> int:
        """Place one entry with all its repetitions; returns its length."""
        usage, sign = entry.usage or usage, entry.sign or sign
        count = entry.most
        if entry.depending is not None:
            if not any(entry is one for one in self.variable):
                if index:
                    raise entry.word.mistake(f"{entry.name} is a table of variable size inside a table")
                self.variable.append(entry)
            if self.first_variable is None:
                self.first_variable = offset
            count = self._counts.get(id(entry), entry.most)
        at, size = offset, 0
        for number in range(1, count + 1):
            one = (*index, number) if entry.is_table else index
            size = self._once(entry, at, one, usage=usage, sign=sign)
            at += size
            if at > MAX_LENGTH:
                raise entry.word.mistake(f"a record is longer than {MAX_LENGTH} bytes")
        if count < entry.most and not self._dialect.slides:
            at = offset + entry.most * (size or self._size(entry, usage, sign))
        return at - offset

    def _size(self, entry: Entry, usage: str, sign: tuple[bool, bool]) -> int:
        """The length of one entry of a table that has none."""
        found, needed = self.found, self.needed
        self.found = []
        size = self._once(entry, 0, (1,), usage=usage, sign=sign)
        self.found, self.needed = found, needed
        return size

    def _once(self, entry: Entry, offset: int, index: tuple[int, ...], *, usage: str, sign: tuple[bool, bool]) -> int:
        if not entry.children:
            length, form = self._form(entry, usage, sign)
            self.needed = max(self.needed, offset + length)
            if not entry.is_filler:
                self.found.append((entry, index, offset, length, form))
                if len(self.found) > MAX_FIELDS:
                    raise entry.word.mistake(f"a record has more than {MAX_FIELDS} fields")
            return length
        places: dict[str, int] = {}
        at = end = offset
        for child in entry.children:
            start = at
            if child.redefines is not None:
                if child.redefines not in places:
                    raise child.word.mistake(f"{child.name} redefines {child.redefines}, which is not beside it")
                start = places[child.redefines]
            places[child.name] = start
            end = max(end, start + self._walk(child, start, index, usage=usage, sign=sign))
            at = end
        return end - offset

    def _form(self, entry: Entry, usage: str, sign: tuple[bool, bool]) -> tuple[int, Form]:
        try:
            length, form = self._made(entry, usage, sign)
            form.arrow(length)
        except UnreadableLayout as error:
            raise entry.word.mistake(f"{entry.name}: {error}") from error
        return length, form

    def _made(self, entry: Entry, usage: str, sign: tuple[bool, bool]) -> tuple[int, Form]:
        dialect, pic = self._dialect, entry.picture
        if usage in ("float", "double") and pic is None:
            kind = Kind.HEXFLOAT if dialect.hexfloat else Kind.FLOAT
            return (4 if usage == "float" else 8), Form(kind, little=dialect.little)
        assert pic is not None  # noqa: S101  the tree was checked
        if usage in ("float", "double") or not (pic.is_number or usage == "display"):
            raise UnreadableLayout("its PIC does not go with the usage of its group")
        if not pic.is_number:
            return pic.length, Form(Kind.TEXT)
        number = Form(Kind.ZONED, digits=pic.digits, scale=pic.scale, signed=pic.signed, blank_zero=entry.blank_zero)
        if usage == "packed":
            return pic.digits // 2 + 1, replace(number, kind=Kind.PACKED)
        if usage in ("binary", "native"):
            size = next((size for most, size in dialect.sizes if pic.digits <= most), None)
            if size is None:
                raise UnreadableLayout("a binary number of more than 18 digits is not supported")
            native = usage == "native"
            return size, replace(number, kind=Kind.BINARY, little=native and dialect.little, full=native)
        leading, separate = sign
        if not pic.signed:
            return pic.digits, number
        return pic.digits + separate, replace(number, leading=leading, separate=separate)


def _names(walk: _Walk) -> dict[int, str]:
    """A name for every field's entry, by its identity: as short as tells it from all others."""
    paths = _paths(walk)
    length = dict.fromkeys(paths, 1)
    while True:
        names = {one: "_".join(path[-length[one] :]) for one, path in paths.items()}
        tally = Tally(names.values())
        again = [one for one in names if tally[names[one]] > 1 and length[one] < len(paths[one])]
        if not again:
            break
        for one in again:
            length[one] += 1
    entries = {id(entry): entry for entry, *_ in walk.found}
    seen: dict[str, int] = {}
    for entry, index, *_ in walk.found:
        full = names[id(entry)] + "".join(f"_{one}" for one in index)
        other = seen.setdefault(full, id(entry))
        if other != id(entry):
            raise entry.word.mistake(f"two fields are called {full}", hint=f"The other: {entries[other].name}.")
    return names


def _paths(walk: _Walk) -> dict[int, list[str]]:
    wanted = {id(entry) for entry, *_ in walk.found}
    paths: dict[int, list[str]] = {}

    def descend(entry: Entry, above: list[str]) -> None:
        path = above if entry.is_filler else [*above, entry.name.lower().replace("-", "_")]
        if id(entry) in wanted:
            paths[id(entry)] = path
        for child in entry.children:
            descend(child, path)

    descend(walk.root, [])
    return paths
