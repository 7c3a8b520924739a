"""One resource of an API: what its requests look like, and what an answer says. Pure.

Promises: an answer that does not hold the list is never taken for an empty one; a next page is taken from the answer
and never from a guess about how full this one is, since servers cap pages as they like; a link leads nowhere but to the
system itself, where the login may go.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urljoin

import pyarrow as pa

from bridge.client import LONGEST_WAIT_S, Answer, Headers, Target
from bridge.config.rest import ITEM_KEY, ResourceConfig
from bridge.config.schedule import bounds_of
from bridge.contract import kinds
from bridge.contract.document import ContractDocument
from bridge.contract.kinds import ValueType
from bridge.errors import ConfigError, SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Subject
from bridge.inbox import jsontext, mapping
from bridge.inbox.jsontext import NotJson, Number, Value
from bridge.model import Column, Marks, Shape

MOST_ITEMS = 20  # records that are asked for one by one; of more, the list is read
Place = str | int | None  # of a page: what its request says; None: of the first

_CURSORS = {"instant": kinds.INSTANT, "timestamp": kinds.TIMESTAMP, "integer": kinds.INTEGER, "text": kinds.TEXT}
_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)
_TEXT_LIMIT = 16 << 10  # characters in a URL; no server takes more
_WESTERNMOST = timedelta(hours=12)
_PATH = "/%:@!$&'()*+,;=~"
_LOOK = "See what the API answers with `curl`, and mend the resource in bridge.yaml."


@dataclass(frozen=True, slots=True)
class Listed:
    """What one answer holds."""

    columns: pa.RecordBatch
    marks: Mapping[str, Marks]
    following: Place  # of the next page; None: this is the last
    total: int | None  # records that there are altogether, where the answer says so
    can_overlap: bool = False  # whether the next page may begin with the last record of this one


@dataclass(frozen=True, slots=True)
class Resource:
    """What one stream reads, under one contract."""

    stream: str
    base: str  # what paths follow
    url: str  # of the list, without a query
    config: ResourceConfig
    shape: Shape
    types: tuple[ValueType, ...]  # of each column

    @classmethod
    def of(cls, stream: str, base: str, config: ResourceConfig, document: ContractDocument) -> "Resource":
        """The resource of a stream: the columns that its contract reads, its key and its cursor.

        Raises: ConfigError when the contract computes with the cursor as something else than it is.
        """
        wanted = mapping.types_of(document)
        for name in config.key:
            wanted.setdefault(name, kinds.TEXT)
        if config.cursor is not None:
            own = _CURSORS[config.cursor_type]
            if wanted.setdefault(config.cursor, own) != own:
                raise ConfigError(
                    f"stream {stream}: the contract reads the cursor {config.cursor} as {wanted[config.cursor]}",
                    hint=f"Set its `cursor_type` to what the contract says, or the contract to {own}.",
                )
        columns = tuple(Column(name, f"json {of}", of.arrow) for name, of in wanted.items())
        base = base.rstrip("/")
        return cls(
            stream,
            base,
            base + quote(config.path, safe=_PATH),
            config,
            Shape(config.path, columns),
            tuple(wanted.values()),
        )

    @property
    def subject(self) -> Subject:
        """As extraction knows it."""
        config, overlap = self.config, bounds_of(self.config.overlap)
        place = self.stream, config.key, config.cursor, config.mode, config.page_rows
        return Subject(*place, overlap=overlap, names_all=True)

    @property
    def is_told_whole(self) -> bool:
        """Whether an unchanged first page means an unchanged list: all of it, and where it goes on, is in the body."""
        paging = self.config.paging
        return paging is None or paging.cursor is not None or (paging.link is not None and paging.link.next is not None)

    @property
    def end_status(self) -> int | None:
        """What a page behind the last one is answered with, where that is no list."""
        paging = self.config.paging
        return paging.page.end_status if paging is not None and paging.page is not None else None

    def no_rows(self, names: Sequence[str]) -> pa.RecordBatch:
        """None of these columns' values."""
        return self._columns([])[0].select(list(names))

    def request(self, place: Place, *, since: Any = None, limit: int) -> str:  # noqa: ANN401  a value of the cursor
        """The URL of a page.

        Args:
            place: of the page.
            since: the cursor's value that records are asked for from; None: all.
            limit: records at most, where the API takes that.
        """
        config, paging = self.config, self.config.paging
        if paging is not None and paging.link is not None and place is not None:
            return str(place)
        query = {name: _plain(value) for name, value in config.parameters.items()}
        if since is not None and config.since is not None:
            query[config.since.parameter] = _moment(since, config.since.format)
        if config.size is not None:
            query[config.size] = str(limit)
        if paging is not None and place is not None:
            query[_parameter(config)] = str(place)
        elif paging is not None and paging.page is not None:
            query[paging.page.parameter] = str(paging.page.first)
        text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items())
        return f"{self.url}?{text}" if text else self.url

    def read(self, answer: Answer, *, url: str, place: Place) -> Listed:
        """What an answer to the request of a page holds.

        Raises: SourceUnavailable when it is not what it should be; SourceRefused for a link to another server.
        """
        if answer.status in (204, self.end_status):  # no content
            total = None if isinstance(place, int) else 0  # behind the last page by number it counts nothing
            return Listed(*self._columns([]), None, total)
        try:
            document = jsontext.read(answer.body)
        except NotJson as error:
            raise SourceUnavailable(f"{self.config.path}: the answer {error}", hint=_LOOK) from error
        found = _reach(document, self.config.items)
        if not isinstance(found, list):
            where = f"no list in {self.config.items}" if self.config.items else "no list"
            raise SourceUnavailable(f"{self.config.path}: the answer holds {where}", hint=_LOOK)
        following = self._following(answer, document, url=url, place=place, count=len(found))
        can_overlap = self.config.paging is not None and self.config.paging.offset is not None
        return Listed(*self._columns(found), following, self._total(answer, document), can_overlap)

    def items(self, keys: pa.RecordBatch) -> list[str] | None:
        """The URL of each record with one of these keys; None where the API cannot be asked for each, or hardly."""
        if self.config.item is None or keys.num_rows > MOST_ITEMS:
            return None
        parts = ITEM_KEY.split(self.config.item)  # the key's fields are every other one
        found = []
        for row in keys.to_pylist():
            texts = [str(row[name]) if isinstance(row[name], (str, int, Decimal)) else "" for name in parts[1::2]]
            if {"", ".", ".."} & set(texts) or not all(map(_can_be_asked, texts)):  # would lead elsewhere, or nowhere
                return None
            said = [quote(part, safe=_PATH) for part in parts[::2]]
            named = [*(quote(text, safe="") for text in texts), ""]
            found.append(self.base + "".join(piece for pair in zip(said, named, strict=True) for piece in pair))
        return found

    def read_items(self, answers: Sequence[Answer]) -> Listed | None:
        """The records that were asked for one by one; None where an answer holds none."""
        found: list[Value] = []
        for answer in answers:
            try:
                document = jsontext.read(answer.body)
            except NotJson:
                return None
            within = _reach(document, self.config.items)
            found.append(within if isinstance(within, dict) else document)
        return Listed(*self._columns(found), None, None)

    def _columns(self, items: Sequence[Value]) -> tuple[pa.RecordBatch, dict[str, Marks]]:
        marks: dict[str, Marks] = {}
        arrays = []
        unread = [row for row, item in enumerate(items) if not isinstance(item, dict)]
        for column, wanted in zip(self.shape.columns, self.types, strict=True):
            texts = [jsontext.text(_reach(item, column.name)) for item in items]
            array, found = mapping.read(column, wanted, texts, unread=unread)
            arrays.append(array)
            if found is not None:
                marks[column.name] = found
        return pa.RecordBatch.from_arrays(arrays, names=self.shape.names()), marks

    def _following(self, answer: Answer, document: Value, *, url: str, place: Place, count: int) -> Place:
        paging = self.config.paging
        if paging is None:
            return None
        if paging.link is not None:
            name = paging.link.next
            link = self._told(document, name) if name else _next_link(answer.headers.get("link", ""))
            return self._beside(url, link) if link else None
        if paging.cursor is not None:
            return self._told(document, paging.cursor.next)
        if not count:
            return None
        if paging.page is not None:
            return (paging.page.first if place is None else int(place)) + 1
        return int(place or 0) + count

    def _told(self, document: Value, name: str) -> str | None:
        """Where the answer says that the list goes on; None: it ends. Raises: SourceUnavailable for what is neither."""
        found = _reach(document, name)
        if found is None or found is False or found == "":
            return None
        if not isinstance(found, (str, Number)) or not _can_be_asked(found):
            raise SourceUnavailable(f"{self.config.path}: {name} does not say where the list goes on", hint=_LOOK)
        return jsontext.text(found)

    def _beside(self, url: str, link: str) -> str:
        """The URL that a link leads to. Raises: SourceRefused unless it is the system's own."""
        try:
            found = urljoin(url, link)
            is_own = Target.parse(found).origin == Target.parse(self.url).origin
        except (ConfigError, ValueError):
            is_own = False
        if not is_own:
            raise SourceRefused(f"{self.config.path}: the next page is on another server", hint=_LOOK)
        return found.partition("#")[0]

    def _total(self, answer: Answer, document: Value) -> int | None:
        if self.config.total is None:
            return None
        header = self.config.total.removeprefix("header:")
        is_header = header != self.config.total
        text = answer.headers.get(header.lower()) if is_header else _text(document, self.config.total)
        if text is None or not re.fullmatch(r"\d{1,15}", text, re.ASCII):
            raise SourceUnavailable(
                f"{self.config.path}: the answer does not tell how many records there are", hint=_LOOK
            )
        return int(text)


def limit_of(answer: Answer, now: float) -> float | None:
    """Seconds until the server takes the next request, by its rate headers, at most a day; None: it takes one now.

    Args:
        answer: any, also a refusal.
        now: seconds since 1970, where the answer does not say what time it is at the server's.
    Source: the drafts of RateLimit header fields for HTTP, and the `X-RateLimit-` headers before them.
    """
    for remaining, reset in _limits(answer.headers):
        if remaining.strip() == "0" and re.fullmatch(r"\d{1,12}", reset.strip(), re.ASCII):
            seconds = float(reset)
            wait_s = seconds - answer.clock(now) if seconds > 1e9 else seconds  # noqa: PLR2004  a moment
            return min(max(0.0, wait_s), LONGEST_WAIT_S)
    return None


def _limits(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """How many requests are left, and when there are more, in every form that we know."""
    text = headers.get("ratelimit", "")
    left, when = (re.search(rf"(?:^|[;,\s]){names}\s*=\s*(\d+)", text) for names in ("(?:r|remaining)", "(?:t|reset)"))
    if left and when:
        yield left[1], when[1]
    for prefix in ("ratelimit-", "x-ratelimit-", "x-rate-limit-"):
        if f"{prefix}remaining" in headers:
            yield headers[f"{prefix}remaining"], headers.get(f"{prefix}reset", "")


def conditions(known: Mapping[str, Any]) -> Headers:
    """What asks a server whether anything changed since `validators` were kept."""
    if "etag" in known:
        return [(b"if-none-match", str(known["etag"]).encode("latin-1"))]
    return [(b"if-modified-since", str(known["modified"]).encode("latin-1"))] if "modified" in known else []


def validators(answer: Answer, fingerprint: str) -> dict[str, Any]:
    """What lets the next reading ask whether anything changed; a date only where it tells a second from the next."""
    found = {"of": fingerprint}
    if answer.headers.get("etag"):
        return found | {"etag": answer.headers["etag"]}
    modified = answer.headers.get("last-modified", "")
    return found | {"modified": modified} if _is_settled(modified, answer.headers.get("date", "")) else {}


def _is_settled(modified: str, date_: str) -> bool:
    """Whether a time of last change was over when the answer was made, so that a later change has a later one."""
    changed, made = _date(modified), _date(date_)
    return changed is not None and made is not None and made - changed > timedelta(seconds=1)


def _date(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return None


def _next_link(header: str) -> str | None:
    """The target of `rel=next` in a Link header (RFC 8288)."""
    for target, parameters in _LINK.findall(header):
        for quoted, bare in _REL.findall(parameters):
            if "next" in (quoted or bare).lower().split():
                return str(target)
    return None


def _parameter(config: ResourceConfig) -> str:
    paging = config.paging
    ways = (paging.cursor, paging.page, paging.offset) if paging is not None else ()
    return next(way.parameter for way in ways if way is not None)


def _reach(value: Value, name: str | None) -> Value:
    return value if name is None else mapping.reach(value, name)


def _text(value: Value, name: str) -> str | None:
    found = _reach(value, name)
    return jsontext.text(found) if isinstance(found, (str, Number)) else None


def _can_be_asked(text: str) -> bool:
    """Whether a text can be part of a URL."""
    try:
        return len(quote(text, safe="")) <= _TEXT_LIMIT
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _moment(value: Any, form: str) -> str:  # noqa: ANN401  a value of the cursor
    if not isinstance(value, datetime):
        return str(value)
    if form == "date":  # of a moment the earliest day that it is anywhere: which one the API means, nobody knows
        return date.isoformat((value - _WESTERNMOST if value.tzinfo else value).date())
    if form in ("seconds", "milliseconds"):
        since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
        microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        return str(microseconds // (1_000_000 if form == "seconds" else 1_000))
    return value.isoformat().replace("+00:00", "Z")
