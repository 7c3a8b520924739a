"""The file that describes a layout: YAML beside bridge.yaml, every mistake told at once with file and line.

`docs/sources-file.md` explains each key. A path that ends in `.cpy`, `.cbl` or `.cob` is a copybook by itself.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic import Field as Field_

from bridge import yamlfile
from bridge.config.kit import Whole
from bridge.errors import ConfigError
from bridge.sources.file import codepages, copybook, dbase, fields, frames, patterns, picture
from bridge.sources.file.codepages import CodePage
from bridge.sources.file.decode import Reading
from bridge.sources.file.delimited import Column, Delimited
from bridge.sources.file.fields import Field, Form, Kind, Placed, UnreadableLayout
from bridge.sources.file.frames import Framer
from bridge.sources.file.layout import Flat, Layout, Trailer, Types, digits, shown_of
from bridge.sources.file.positions import Positions
from bridge.sources.file.record import DIALECTS, Dialect, Record

_DECIMAL = re.compile(r"(integer|decimal)(?:\(([0-9]{1,2})(?:, *([0-9]{1,2}))?\))?")
_COPYBOOKS = (".cpy", ".cbl", ".cob")
_WAYS = ("copybook", "fixed", "csv", "dbf")
_PLACED = ("copybook", "fixed")
_TAKEN_BY = {
    "length": ("fixed",), "record_name": ("copybook",), "dialect": _PLACED, "record": _PLACED, "types": _PLACED,
    "trailer": _PLACED, "empty_numbers": _PLACED, "blanks": (*_PLACED, "dbf"), "header_records": (*_PLACED, "csv"),
}  # fmt: skip
_USAGES = {"COMP-3": Kind.PACKED, "PACKED-DECIMAL": Kind.PACKED}


def _quoted(value: object) -> object:
    if isinstance(value, int | float):
        raise ValueError("a text in quotes, like '01'")  # noqa: TRY004  pydantic reports ValueError only
    return value


Text = Annotated[str, BeforeValidator(_quoted)]
Place = Annotated[Whole, Field_(ge=1)]  # counted from 1


class _Part(BaseModel):
    """A mapping of the file: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _Written(_Part):
    """How a value is written that people could read."""

    name: str
    type: str = "text"  # text, integer, decimal(p,s), date, timestamp
    format: str = ""
    comma: bool = False

    def form(self) -> Form:
        """The form; raises UnreadableLayout."""
        found = _DECIMAL.fullmatch(self.type)
        if found is not None:
            whole, scale = int(found[2] or 18), int(found[3] or 0)
            if found[1] == "integer" and scale:
                raise UnreadableLayout("an integer has no digits behind the point")
            return Form(Kind.NUMBER, digits=whole, scale=scale, signed=True, comma=self.comma)
        kinds = {"text": Kind.TEXT, "date": Kind.DATE, "timestamp": Kind.TIMESTAMP}
        if self.type not in kinds:
            raise UnreadableLayout(f"type `{self.type}`; expected text, integer, decimal(p,s), date or timestamp")
        default = {"date": "%Y-%m-%d", "timestamp": "%Y-%m-%d %H:%M:%S"}.get(self.type, "")
        pattern = self.format or default
        if self.type != "text":
            patterns.shape(pattern)
        return Form(kinds[self.type], pattern=pattern)


class _Placed(_Written):
    """A field of a fixed record."""

    at: Whole  # of its first byte, from 1
    length: Whole | None = None
    pic: str = ""

    @model_validator(mode="after")
    def _right(self) -> "_Placed":
        if self.at < 1:
            raise ValueError("`at` counts bytes from 1")
        if bool(self.pic) == (self.length is not None) or self.length == 0:
            raise ValueError("either `pic` or `length` (with `type`)")
        return self


class _Titled(_Written):
    """A column of delimited text."""

    title: str = ""


class _Csv(_Part):
    """Delimited text."""

    columns: list[_Titled]
    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    multiline: bool = False


class _Dbf(_Part):
    """A dBase or FoxPro table."""

    deleted: Literal["skip", "take"] = "skip"


class _Types(_Part):
    """Several types of record in one file."""

    at: Place
    length: Place
    take: list[Text]
    skip: list[Text] = []


class _Trailer(_Part):
    """A last record that counts those before it."""

    at: Place
    length: Place


class _Layout(_Part):
    """The whole file."""

    copybook: str | None = None
    fixed: list[_Placed] | None = None
    csv: _Csv | None = None
    dbf: _Dbf | None = None
    length: Whole | None = None  # of a fixed record, where fields do not reach its end
    record_name: str | None = None
    codepage: str | None = None
    dialect: Literal["ibm", "gnucobol"] | None = None
    record: Literal["fixed", "lines", "rdw", "vb", "varseq"] = "fixed"
    blanks: Literal["trim", "keep"] = "trim"
    empty_numbers: Literal["refuse", "null"] = "refuse"
    types: _Types | None = None
    header_records: Whole = 0
    trailer: _Trailer | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "_Layout":
        given = [name for name in _WAYS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of copybook, fixed, csv, dbf, not {' and '.join(given) or 'none'}")
        return self


def load(path: Path) -> Layout:
    """Read a layout. Raises: ConfigError listing every mistake as ``file:line: ...``."""
    if path.suffix.lower() in _COPYBOOKS:
        return _flat(yamlfile.parse("", file=str(path)), _Layout(copybook=path.name), path)
    document = yamlfile.read(path)
    try:
        declared = _Layout.model_validate(document.data)
    except ValidationError as error:
        mistakes = [_mistake(document, found) for found in error.errors(include_url=False)]
        raise ConfigError("\n".join(mistakes), hint="docs/sources-file.md shows every key.") from None
    [way] = [name for name in _WAYS if getattr(declared, name) is not None]
    idle = [key for key, ways in _TAKEN_BY.items() if key in declared.model_fields_set and way not in ways]
    if idle:
        mistakes = [f"{document.at((key,))}: {key}: means nothing beside `{way}`" for key in idle]
        raise ConfigError("\n".join(mistakes), hint="Leave it away; docs/sources-file.md says what goes together.")
    if declared.csv is not None:
        return _delimited(document, declared, declared.csv)
    if declared.dbf is not None:
        page_ = _page(document, declared.codepage) if declared.codepage else None
        return dbase.Dbase(page_, takes_deleted=declared.dbf.deleted == "take", folds=declared.blanks == "trim")
    return _flat(document, declared, path)


def _mistake(document: yamlfile.Document, found: Any) -> str:  # noqa: ANN401  a finding of pydantic
    path = tuple(found["loc"])
    what = {"missing": "is missing", "extra_forbidden": "is not a known key"}.get(found["type"], found["msg"])
    return f"{document.at(path)}: {'.'.join(map(str, path)) or 'the layout'}: {what.removeprefix('Value error, ')}"


def _page(document: yamlfile.Document, name: str) -> CodePage:
    try:
        return codepages.page(name)
    except UnreadableLayout as error:
        raise ConfigError(f"{document.at(('codepage',))}: {error}") from error


def _flat(document: yamlfile.Document, declared: _Layout, path: Path) -> Layout:
    page = _page(document, declared.codepage or "ascii")
    dialect = DIALECTS[declared.dialect or ("ibm" if page.is_ebcdic else "gnucobol")]
    record: Record | Placed
    if declared.copybook is not None:
        place = path.parent / declared.copybook
        if not place.is_file():
            raise ConfigError(f"{document.at(('copybook',))}: {place} is not a file")
        record = Record(copybook.read(place, declared.record_name), dialect)
    else:
        record = _positions(document, declared, dialect)
    reading = Reading(page, keeps_blanks=declared.blanks == "keep", empty_is_null=declared.empty_numbers == "null")
    types, trailer = declared.types, declared.trailer
    if types is not None and types.at - 1 + types.length > record.length:
        raise ConfigError(f"{document.at(('types',))}: types: stand behind the record's {record.length} bytes")
    return Positions(
        Flat(
            record,
            _framer(declared.record, record.length, page),
            reading,
            fills_up=declared.record == "lines",
            types=None if types is None else Types(
                Field("type", types.at - 1, types.length, fields.TEXT), tuple(types.take), tuple(types.skip)
            ),
            shown=shown_of(record.fields),
        ),
        header_records=declared.header_records,
        trailer=None if trailer is None else Trailer(digits(trailer.at - 1, trailer.length)),
    )  # fmt: skip


def _framer(record: str, length: int, page: CodePage) -> Framer:
    if record == "fixed":
        return frames.fixed(length)
    if record == "lines":
        return frames.lines(is_ebcdic=page.is_ebcdic)
    return frames.blocked() if record == "vb" else frames.prefixed(counts_itself=record == "rdw")


def _positions(document: yamlfile.Document, declared: _Layout, dialect: Dialect) -> Placed:
    found: list[Field] = []
    mistakes: list[str] = []
    for number, each in enumerate(declared.fixed or []):
        place = ("fixed", number)
        try:
            length, form = _pic(each.pic, dialect) if each.pic else (each.length or 0, each.form())
            form.arrow(length)
            found.append(Field(each.name, each.at - 1, length, form, document.line_of(place)))
        except UnreadableLayout as error:
            mistakes.append(f"{document.at(place)}: {each.name}: {error}")
    names = [field.name for field in found]
    mistakes += [
        f"{document.at(('fixed', number))}: two fields are called {name}"
        for number, name in enumerate(names)
        if name in names[:number]
    ]
    ends = max((field.end for field in found), default=0)
    if declared.length is not None and declared.length < ends:
        mistakes.append(f"{document.at(('length',))}: {declared.length} bytes, and fields reach to {ends}")
    if mistakes or not found:
        raise ConfigError("\n".join(mistakes) or f"{document.at(('fixed',))}: no field")
    return Placed(tuple(found), declared.length or ends)


def _pic(text: str, dialect: Dialect) -> tuple[int, Form]:
    """A picture with its usage, as a copybook would have it: "S9(7)V99 COMP-3"."""
    pic, *rest = text.split()
    found = picture.parse(pic)
    words = [word.upper() for word in rest if word.upper() not in ("USAGE", "IS", "SIGN")]
    if not found.is_number:
        if words:
            raise UnreadableLayout(f"pic {text}: text takes no usage")
        return found.length, fields.TEXT
    number = Form(Kind.ZONED, digits=found.digits, scale=found.scale, signed=found.signed)
    usage = [word for word in words if word.startswith(("COMP", "BINARY", "PACKED"))]
    words = [word for word in words if word not in usage]
    return _usage(text, number, usage, words, dialect=dialect)


def _usage(text: str, number: Form, usage: list[str], words: list[str], *, dialect: Dialect) -> tuple[int, Form]:
    if not usage and set(words) <= {"LEADING", "TRAILING", "SEPARATE"} and (number.signed or not words):
        separate = "SEPARATE" in words
        return number.digits + separate, replace(number, leading="LEADING" in words, separate=separate)
    if len(usage) == 1 and not words:
        if usage[0] in _USAGES:
            return number.digits // 2 + 1, replace(number, kind=Kind.PACKED)
        size = next((size for most, size in dialect.sizes if number.digits <= most), None)
        if usage[0] in ("COMP", "COMP-4", "COMP-5", "BINARY") and size is not None:
            native = usage[0] == "COMP-5"
            return size, replace(number, kind=Kind.BINARY, little=native and dialect.little, full=native)
    raise UnreadableLayout(f"pic {text}: is not a picture with a usage")


def _delimited(document: yamlfile.Document, declared: _Layout, table: _Csv) -> Layout:
    page = _page(document, declared.codepage or "utf-8")
    mistakes = []
    if page.is_ebcdic:
        mistakes.append(f"{document.at(('codepage',))}: delimited text is ASCII, or an extension of it")
    for key, value, least in (("delimiter", table.delimiter, 1), ("quote", table.quote, 0)):
        if not least <= len(value.encode()) <= 1 or value in ("\r", "\n"):
            mistakes.append(f"{document.at(('csv', key))}: {key}: expected one ASCII character")
    if table.delimiter == table.quote:
        mistakes.append(f"{document.at(('csv', 'quote'))}: quote: is the delimiter, too")
    columns = []
    for number, each in enumerate(table.columns):
        try:
            columns.append(Column(each.name, each.title or each.name, each.form()))
        except UnreadableLayout as error:
            mistakes.append(f"{document.at(('csv', 'columns', number))}: {each.name}: {error}")
    names = [column.name for column in columns]
    if len(set(names)) < len(names) or not names:
        mistakes.append(f"{document.at(('csv', 'columns'))}: expected columns, each with a name of its own")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return Delimited(
        tuple(columns),
        page,
        delimiter=table.delimiter,
        quote=table.quote,
        has_header=table.header,
        multiline=table.multiline,
        header_records=declared.header_records,
    )
