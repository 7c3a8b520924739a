"""Asking an API: one GET request at a time, as whoever the login says, when the server wants to be asked.

Promises: it sends GET requests and nothing else to the system (I9); whatever the server asks for, by Retry-After or
rate headers, holds for every stream of the system; a redirect is never followed. The client and its guard are those of
every request of ours that leaves this machine.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Coroutine
from typing import Any, NoReturn, TypeVar

from bridge.client import Answer, Client, Headers, Lookup, Target
from bridge.config.rest import RestSystemConfig
from bridge.errors import SourceRefused, SourceUnavailable
from bridge.sources.rest.login import Login
from bridge.sources.rest.resource import limit_of

_T = TypeVar("_T")
_WAITS = frozenset({408, 421, 425, 429})
_MEND = "Mend the login of this system in bridge.yaml, or ask whoever runs it for the right to read."


class Session:
    """One API. For one thread, but for `cancel`.

    Args:
        config: how it is reached.
        monotonic: the clock that waits are counted by.
        lookup: how names are resolved; None: by the system.
    """

    def __init__(self, config: RestSystemConfig, *, monotonic: Callable[[], float], lookup: Lookup | None) -> None:
        self._config = config
        self._monotonic = monotonic
        self._lookup = lookup
        self._not_before = self._no_token_before = 0.0  # on the monotonic clock: what server and token server asked for
        self._asked = 0  # requests so far
        self._runner: asyncio.Runner | None = None
        self._client: Client | None = None
        self._login: Login | None = None
        self._turn = threading.Lock()  # guards what `cancel` needs
        self._task: asyncio.Task[Any] | None = None

    def open(self) -> None:
        """Connect anew; a token is fetched where the login needs one. Raises: SourceUnavailable, SourceRefused."""
        self.close()
        self._runner = asyncio.Runner()
        self._run(self._connect())
        self._run(self._signed())

    def get(self, url: str, path: str, *, conditions: Headers = (), ends: Collection[int] = ()) -> Answer:
        """Ask for a page.

        Args:
            url: of the page.
            path: what it is called in an error.
            conditions: headers under which the server may say that nothing has changed.
            ends: statuses that say something of what is asked for, and not of the server or of us.
        Returns: an answer of status 200, 204, 304 or one of `ends`.
        Raises: SourceUnavailable (also after `cancel`), SourceRefused.
        """
        return self._run(self._ask(url, path, conditions, ends))

    def mark(self) -> tuple[float, int]:
        """Seconds, and requests so far with those for tokens: two marks apart say what was spent between them."""
        return self._monotonic(), self._asked + (self._login.fetched if self._login is not None else 0)

    def cancel(self) -> None:
        """Give the request under way up; from any thread."""
        with self._turn:
            if self._task is not None:
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def close(self) -> None:
        """Disconnect; callable twice. What the server asked for is not forgotten."""
        if self._runner is not None:
            if self._client is not None:
                self._runner.run(self._client.close())
            self._runner.close()
        self._runner = self._client = self._login = None

    # -- what these are made of

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

    async def _ask(self, url: str, path: str, conditions: Headers, ends: Collection[int]) -> Answer:
        assert self._login is not None  # noqa: S101  open
        self._heed(self._not_before)
        target = Target.parse(url)
        headers = await self._signed()
        answer = await self._get(target, headers, conditions)
        if answer.status == 401 and self._login.distrust(headers):  # noqa: PLR2004
            answer = await self._get(target, await self._signed(), conditions)
        self._note(answer)
        if answer.status not in (200, 204, 304, *ends):
            self._refuse(answer.status, path)
        return answer

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
        waits = [limit_of(answer, now), answer.retry_after_s(now)]
        self._not_before = max([self._not_before, *(self._monotonic() + wait for wait in waits if wait is not None)])

    def _refuse(self, status: int, path: str) -> NoReturn:
        """Raises: what a status means."""
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
