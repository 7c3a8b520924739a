"""A REST API as a system that extraction reads; see `extraction.extractor.Extractor`.

Promises: one request a page; a server that answers strangely is waited for, and never believed to have no records. How
it is asked lies in `session`, what an answer says in `resource`, and what was gathered in `reading`.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from bridge.client import Answer, Lookup
from bridge.config.rest import RestSystemConfig
from bridge.errors import SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Load, Page, Question, Subject
from bridge.sources.rest import resource as resources_
from bridge.sources.rest.reading import Reading, is_by_cursor, shape_of, shown
from bridge.sources.rest.resource import Resource
from bridge.sources.rest.session import Session

RESTARTS = 3  # of one reading that the API cannot keep together
READINGS = 2  # of one stream kept at once; the oldest is gathered anew when it is asked for again

_GONE_ON = frozenset({400, 404, 410, 422})  # of a page behind the first: its mark is not good any more


class RestExtractor:
    """One API.

    Args:
        name: of the system.
        config: how it is reached.
        resources: what is read, by stream.
        now: our clock.
        monotonic: and the one that waits are counted by.
        lookup: how names are resolved; by the system when left out.
    """

    def __init__(
        self,
        name: str,
        config: RestSystemConfig,
        resources: Mapping[str, Resource],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        lookup: Lookup | None = None,
    ) -> None:
        self.name = name
        self.subjects: Mapping[str, Subject] = {stream: each.subject for stream, each in resources.items()}
        self.asks_ahead = False  # of a host that counts requests nothing is asked that may not be wanted
        self._resources = resources
        self._now = now
        self._readings: dict[str, Reading] = {}
        self._session = Session(config, monotonic=monotonic, lookup=lookup)

    def open(self) -> None:
        """See the port: a token is fetched where the login needs one; no record is read."""
        self._session.open()

    def page(self, question: Question) -> Page:
        """See the port: one request, until the reading is gathered; then rows in order."""
        resource = self._resources[question.stream]
        if question.is_without_cursor:  # no API can be asked for those; a sweep finds them
            return self._empty(resource, question, resume=None, queries=0)
        if question.keys is not None:
            return self._chosen(resource, question)
        name, reading = self._reading(resource, question)
        if reading.is_gathered:
            return self._given(resource, question, name, reading)
        return self._gather(resource, question, name, reading)

    def probe(self) -> Load:
        """See the port: an API does not say."""
        return Load()

    def cancel(self) -> None:
        """See the port: the request under way is given up."""
        self._session.cancel()

    def close(self) -> None:
        """See the port. What was gathered stays: who closes because the server wants to be left alone comes back."""
        self._session.close()

    # -- readings

    def _reading(self, resource: Resource, question: Question) -> tuple[str, Reading]:
        """The reading that a question belongs to: as it is, or begun anew behind the rows that were given out."""
        name = _name(resource, question)
        reading = self._readings.get(name)
        if reading is not None and question.resume is not None and self._goes_on(reading, question.resume):
            return name, reading
        others = [each for each in self._readings if each != name and self._readings[each].subject == resource.subject]
        for old in [name, *others[: len(others) + 1 - READINGS]]:
            self._readings.pop(old, None)
        after = (question.resume or {}).get("after")
        reading = Reading(resource.subject, resource.shape, self._now(), after=after)
        self._readings[name] = reading
        return name, reading

    def _goes_on(self, reading: Reading, resume: Mapping[str, Any]) -> bool:
        if reading.is_gathered:
            reading.after = resume.get("after")
            return "pages" not in resume
        return resume.get("pages") == reading.pages

    def _chosen(self, resource: Resource, question: Question) -> Page:
        """Rows with certain keys, in one page: a few each by itself, else out of all records."""
        before = self._session.mark()
        found, size_bytes = self._by_key(resource, question)
        spent = self._spent(before, size_bytes)
        if found is not None:
            return replace(found, **spent)
        kept = self._readings.get(_name(resource, question))  # of a question that was not answered to its end
        name, reading = self._reading(resource, replace(question, resume=_gathering(kept) if kept else None))
        page = None
        while page is None or page.resume is not None:
            step = replace(question, resume=None if page is None else page.resume)
            page = self._gather(resource, step, name, reading)
            spent = {part: amount + getattr(page, part) for part, amount in spent.items()}
        return replace(page, **spent)

    def _by_key(self, resource: Resource, question: Question) -> tuple[Page | None, int]:
        """Records asked for one by one, and the bytes that came; none where one is missing: the list alone says so."""
        assert question.keys is not None  # noqa: S101  asked for by them
        urls, answers, size_bytes = resource.items(question.keys), [], 0
        for url in urls or ():
            answer = self._session.get(url, resource.config.path, ends=_ends(resource))
            size_bytes += len(answer.body)
            if answer.status != 200:  # noqa: PLR2004
                return None, size_bytes
            answers.append(answer)
        listed = resource.read_items(answers) if urls else None
        if listed is None:
            return None, size_bytes
        reading = Reading(resource.subject, resource.shape, self._now())
        reading.take(listed)
        reading.finish(question)
        columns, marks, _ = reading.give(question)
        if columns.num_rows != len(answers):
            return None, size_bytes
        page = self._empty(resource, question, resume=None)
        return replace(page, columns=columns, marks=marks, read_at=reading.began_at), size_bytes

    def _given(self, resource: Resource, question: Question, name: str, reading: Reading) -> Page:
        columns, marks, after = reading.give(question)
        if after is None:
            self._readings.pop(name)
        page = self._empty(resource, question, resume=None if after is None else {"after": after}, queries=0)
        return replace(
            page, columns=columns, marks=marks, read_at=reading.began_at, memory=reading.memory if after is None else {}
        )

    def _gather(self, resource: Resource, question: Question, name: str, reading: Reading) -> Page:
        """Ask for the next page of a reading."""
        before = self._session.mark()
        since = (
            question.since.as_py() if question.since is not None and is_by_cursor(resource.subject, question) else None
        )
        url = resource.request(reading.place, since=since, limit=question.limit)
        fingerprint = hashlib.sha256(f"{url} {resource.shape}".encode()).hexdigest()
        known = question.memory if _is_whole(question) and reading.pages == 0 else {}
        known = known if known.get("of") == fingerprint else {}
        ends = _ends(resource) if reading.pages else frozenset()
        ask = partial(self._session.get, url, resource.config.path, conditions=resources_.conditions(known), ends=ends)
        answer = ask()
        is_end = reading.pages > 0 and answer.status == resource.end_status
        if is_end:  # what stands between us and the API may have said so
            answer = ask()
        spent = self._spent(before, len(answer.body))
        if answer.status in _GONE_ON and not (is_end and answer.status == resource.end_status):
            return self._again(resource, question, reading, spent, status=answer.status)
        if answer.status == 304 and known:  # noqa: PLR2004  not modified
            self._readings.pop(name)
            return self._empty(resource, question, resume=None, is_unchanged=True, memory=known, **spent)
        if not self._taken(resource, question, reading, answer=answer, url=url):
            return self._again(resource, question, reading, spent)
        if reading.pages == 1 and reading.is_gathered and _is_whole(question) and resource.is_told_whole:
            reading.memory = resources_.validators(answer, fingerprint)
        if reading.is_gathered:
            return replace(self._given(resource, question, name, reading), **spent)
        return self._empty(resource, question, resume=_gathering(reading), **spent)

    def _taken(self, resource: Resource, question: Question, reading: Reading, *, answer: Answer, url: str) -> bool:
        """Take an answer in. Returns: False when the list came apart, so that it has to be read again."""
        outcome = reading.take(resource.read(answer, url=url, place=reading.place))
        limit = resource.config.reading_megabytes * 1_000_000
        if reading.size_bytes > limit:
            self._drop(reading)
            raise SourceRefused(
                f"{resource.config.path}: the records take more than {limit // 1_000_000} MB",
                hint="Raise `reading_megabytes`, or narrow the list by `parameters` or `since`.",
            )
        if outcome == "circle":
            self._drop(reading)
            raise SourceUnavailable(
                f"{resource.config.path}: its pages go round in a circle", hint="Mend `paging` of the resource."
            )
        return outcome == "taken" and (reading.place is not None or reading.finish(question))

    def _again(
        self,
        resource: Resource,
        question: Question,
        reading: Reading,
        spent: Mapping[str, Any],
        *,
        status: int | None = None,
    ) -> Page:
        """Begin a reading again that the API did not keep together, a few times."""
        if reading.restarts >= RESTARTS:
            self._drop(reading)
            if status is not None:
                raise SourceUnavailable(
                    f"{resource.config.path}: HTTP {status} to page {reading.pages + 1}, each time it was read",
                    hint="If a page behind the last is answered so, give `end_status`; else see how far the API pages.",
                )
            raise SourceUnavailable(
                f"{resource.config.path}: the list changes faster than its pages can be read",
                hint="Raise `page_rows`, sort the list by what does not change, or read it when it is quiet.",
            )
        reading.restart(self._now())
        return self._empty(resource, question, resume=_gathering(reading), **spent)

    def _spent(self, before: tuple[float, int], size_bytes: int) -> dict[str, Any]:
        """What was asked of the system since a mark, as a page says it."""
        (began, asked), (now, count) = before, self._session.mark()
        return {"seconds": now - began, "queries": count - asked, "size_bytes": size_bytes}

    def _drop(self, reading: Reading) -> None:
        self._readings = {name: each for name, each in self._readings.items() if each is not reading}

    def _empty(self, resource: Resource, question: Question, *, resume: Mapping[str, Any] | None, **rest: Any) -> Page:  # noqa: ANN401  of Page
        """A page without rows."""
        shape = shape_of(resource.shape, shown(resource.subject, question, resource.shape.names()))
        return Page(shape, resource.no_rows(shape.names()), self._now(), resume, **rest)


def _ends(resource: Resource) -> frozenset[int]:
    """Statuses that tell something of a list that is being read, or of a single record."""
    return _GONE_ON if resource.end_status is None else _GONE_ON | {resource.end_status}


def _name(resource: Resource, question: Question) -> str:
    """What the questions of one reading have in common."""
    values = (question.since, *(question.after_key or ()), None, *(question.to_key or ()))
    keys = question.keys and question.keys.to_pylist()
    return f"{resource.stream} {question.want} {question.is_by_key} {keys!r} {values!r}"


def _is_whole(question: Question) -> bool:
    """Whether a reading is of everything, so that an unchanged answer means that nothing changed."""
    parts = (question.since, question.after_key, question.to_key, question.keys, question.resume)
    return question.want == "rows" and all(part is None for part in parts)


def _gathering(reading: Reading) -> dict[str, Any]:
    return {"pages": reading.pages} | ({} if reading.after is None else {"after": reading.after})
