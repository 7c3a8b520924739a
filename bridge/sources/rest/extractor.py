"""A REST API as a system that extraction reads; see `extraction.extractor.Extractor`.

Promises: it sends GET requests and nothing else to the system (I9), one a page; whatever the server asks for, by
Retry-After or rate headers, holds for every stream of the system; a redirect is never followed; a server that answers
strangely is waited for, and never believed to have no records. The client and its guard are those of every request of
ours that leaves this machine.
"""

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn, TypeVar

from bridge.client import Answer, Client, Headers, Lookup, Target
from bridge.config.rest import RestSystemConfig
from bridge.errors import SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Load, Page, Question, Subject
from bridge.sources.rest import resource as resources_
from bridge.sources.rest.login import Login
from bridge.sources.rest.reading import Reading, is_by_cursor, shape_of, shown
from bridge.sources.rest.resource import Resource

RESTARTS = 3  # of one reading that the API cannot keep together
READINGS = 2  # of one stream kept at once; the oldest is gathered anew when it is asked for again

_T = TypeVar("_T")
_GONE_ON = frozenset({400, 404, 410, 422})  # of a page behind the first: its mark is not good any more
_WAITS = frozenset({408, 421, 425, 429})
_MEND = "Mend the login of this system in bridge.yaml, or ask whoever runs it for the right to read."


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
        self._config = config
        self._resources = resources
        self._now = now
        self._monotonic = monotonic
        self._lookup = lookup
        self._readings: dict[str, Reading] = {}
        self._not_before = self._no_token_before = 0.0  # on the monotonic clock: what server and token server asked for
        self._asked = 0  # requests so far
        self._runner: asyncio.Runner | None = None
        self._client: Client | None = None
        self._login: Login | None = None
        self._turn = threading.Lock()  # guards what `cancel` needs
        self._task: asyncio.Task[Any] | None = None

    def open(self) -> None:
        """See the port: a token is fetched where the login needs one; no record is read."""
        self.close()
        self._runner = asyncio.Runner()
        self._run(self._connect())
        self._run(self._signed())

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
        with self._turn:
            if self._task is not None:
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def close(self) -> None:
        """See the port. What was gathered stays: who closes because the server wants to be left alone comes back."""
        if self._runner is not None:
            if self._client is not None:
                self._runner.run(self._client.close())
            self._runner.close()
        self._runner = self._client = self._login = None

    async def _connect(self) -> None:
        config = self._config
        self._client = Client(
            SourceUnavailable,
            allow_networks=config.allow_networks,
            connections=1,
            ca_file=config.ca_file,
            lookup=self._lookup,
        )
        self._login = Login(config, self._client, monotonic=self._monotonic)

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
        began, asked = self._monotonic(), self._requests()
        found, size_bytes = self._by_key(resource, question)
        spent = self._spent(began, asked, size_bytes)
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
            answer = self._run(self._ask(url, resource, (), is_first=False))
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
        began, asked = self._monotonic(), self._requests()
        since = (
            question.since.as_py() if question.since is not None and is_by_cursor(resource.subject, question) else None
        )
        url = resource.request(reading.place, since=since, limit=question.limit)
        fingerprint = hashlib.sha256(f"{url} {resource.shape}".encode()).hexdigest()
        known = question.memory if _is_whole(question) and reading.pages == 0 else {}
        known = known if known.get("of") == fingerprint else {}
        ask = partial(self._ask, url, resource, resources_.conditions(known), is_first=reading.pages == 0)
        answer = self._run(ask())
        is_end = reading.pages > 0 and answer.status == resource.end_status
        if is_end:  # what stands between us and the API may have said so
            answer = self._run(ask())
        spent = self._spent(began, asked, len(answer.body))
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

    def _spent(self, began: float, asked: int, size_bytes: int) -> dict[str, Any]:
        """What was asked of the system since then, as a page says it."""
        return {"seconds": self._monotonic() - began, "queries": self._requests() - asked, "size_bytes": size_bytes}

    def _drop(self, reading: Reading) -> None:
        self._readings = {name: each for name, each in self._readings.items() if each is not reading}

    def _empty(self, resource: Resource, question: Question, *, resume: Mapping[str, Any] | None, **rest: Any) -> Page:  # noqa: ANN401  of Page
        """A page without rows."""
        shape = shape_of(resource.shape, shown(resource.subject, question, resource.shape.names()))
        return Page(shape, resource.no_rows(shape.names()), self._now(), resume, **rest)

    # -- requests

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do something on the loop. Raises: SourceUnavailable when it is cancelled."""

        async def cancellable() -> _T:
            with self._turn:
                self._task = asyncio.current_task()
            try:
                return await work
            finally:
                with self._turn:
                    self._task = None

        if self._runner is None:
            work.close()
            raise SourceUnavailable("it is not open")
        try:
            return self._runner.run(cancellable())
        except asyncio.CancelledError:
            raise SourceUnavailable("reading was cancelled", hint="It goes on when the system is resumed.") from None

    async def _ask(self, url: str, resource: Resource, conditions: Headers, *, is_first: bool) -> Answer:
        """One page's answer: 200, 204, 304, or for a page behind the first one of `_GONE_ON` or the list's end."""
        assert self._login is not None  # noqa: S101  open
        self._heed(self._not_before)
        target = Target.parse(url)
        headers = await self._signed()
        answer = await self._get(target, headers, conditions)
        if answer.status == 401 and self._login.distrust(headers):  # noqa: PLR2004
            answer = await self._get(target, await self._signed(), conditions)
        self._note(answer)
        ends = () if is_first else (*_GONE_ON, resource.end_status)
        if answer.status not in (200, 204, 304, *ends):
            self._refuse(answer, resource)
        return answer

    def _requests(self) -> int:
        """How many there were so far, those for tokens with them."""
        return self._asked + (self._login.fetched if self._login is not None else 0)

    async def _get(self, target: Target, headers: Headers, conditions: Headers) -> Answer:
        assert self._client is not None  # noqa: S101  open
        self._asked += 1
        return await self._client.ask(
            "GET",
            target,
            deadline_s=self._config.timeout_s,
            headers=[(b"accept", b"application/json"), *headers, *conditions],
            answer_limit=self._config.answer_megabytes * 1_000_000,
        )

    async def _signed(self) -> Headers:
        """What the login puts on a request; a token server that wants to be left alone is."""
        assert self._login is not None  # noqa: S101  open
        self._heed(self._no_token_before)
        try:
            return await self._login.headers()
        except SourceUnavailable as error:
            self._no_token_before = self._monotonic() + (error.retry_after_s or 0.0)
            raise

    def _heed(self, not_before: float) -> None:
        """Raises: SourceUnavailable while the server wants to be left alone."""
        left_s = not_before - self._monotonic()
        if left_s > 0:
            raise SourceUnavailable(
                f"the server wants no request for {left_s:.0f} s",
                hint="It goes on by itself; see the API's limits, and `budget` of the system.",
                retry_after_s=left_s,
            )

    def _note(self, answer: Answer) -> None:
        """Remember until when the server wants no more requests."""
        now = time.time()
        waits = [resources_.limit_of(answer, now), answer.retry_after_s(now)]
        self._not_before = max([self._not_before, *(self._monotonic() + wait for wait in waits if wait is not None)])

    def _refuse(self, answer: Answer, resource: Resource) -> NoReturn:
        """Raises: what a status means."""
        status, path = answer.status, resource.config.path
        if status in _WAITS or status >= 500 or (status == 403 and self._not_before > self._monotonic()):  # noqa: PLR2004
            left_s = self._not_before - self._monotonic()
            raise SourceUnavailable(f"{path}: HTTP {status}", retry_after_s=left_s if left_s > 0 else None)
        if status in (401, 403):
            raise SourceRefused(f"{path}: HTTP {status}, the login is not let in", hint=_MEND)
        if 300 <= status < 400:  # noqa: PLR2004  the class of redirects
            raise SourceRefused(
                f"{path}: HTTP {status}, redirect refused", hint="Give `url` and `path` as the API has them now."
            )
        raise SourceRefused(f"{path}: HTTP {status}", hint="Mend `path` and `parameters` of the resource.")


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
