"""The whole HTTP door on one port: open pages, the inbox of systems that send to us, and the API behind its gate."""

from starlette.types import ASGIApp, Receive, Scope, Send

from bridge.web.dispatch import Api
from bridge.web.door import Door
from bridge.web.guard import Guard
from bridge.web.problems import Problem, Problems
from bridge.web.table import TABLE

INBOX = "/v1/inbox/"
PAGES = ("/livez", "/readyz", "/health", "/metrics")


class Doorway:
    """Answers by path. What is behind the door is swapped whole; requests under way end with what they began with."""

    def __init__(self, pages: ASGIApp, *, inbox: ASGIApp | None = None) -> None:
        """Begin with what needs no door.

        Args:
            pages: health pages and metrics.
            inbox: what takes messages in.
        """
        self._pages = pages
        self._inbox = inbox
        self._door: Door | None = None
        self.app = Guard(Problems(self._switch), takes_bodies=True)
        self._api = Api(TABLE, self._open)

    def swap(self, door: Door | None) -> None:
        """Put another configuration behind the door and end the former's live connections; callable from any thread."""
        former, self._door = self._door, door
        if former is not None:
            former.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.app(scope, receive, send)

    async def _switch(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path in PAGES:
            await self._pages(scope, receive, send)
        elif path.startswith(INBOX) and self._inbox is not None:
            await self._inbox(scope, receive, send)
        else:
            await self._api(scope, receive, send)

    def _open(self) -> Door:
        if self._door is None:
            raise Problem(503, "unavailable", "The bridge is starting or stopping.", headers={"retry-after": "1"})
        return self._door
