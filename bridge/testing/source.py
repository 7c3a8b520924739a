"""A source without a legacy system."""

from collections import deque
from collections.abc import Callable, Mapping
from threading import Condition
from typing import Any

from bridge.errors import BridgeError, InternalError
from bridge.findings import Finding
from bridge.model import Position, Window
from bridge.ports import Journal


class ScriptedSource:
    """A source that plays a script of windows and faults. `read` is for one thread, the rest for any.

    A fault is raised once, where it stands. Opened at a position, it goes on behind the window that moved there, as a
    source does that is read again after a crash; `renew` returns the next window of the script.
    """

    def __init__(self, name: str, *script: Window | BridgeError, journal: Journal | None = None) -> None:
        """Begin with this script. A confirmation of what `journal` does not hold is an InternalError (I1)."""
        self.name = name
        self.confirmed: list[Position] = []
        self.controls: list[tuple[str, str]] = []
        self.problems: list[Finding] = []  # what `findings` says
        self.session_faults: deque[BridgeError] = deque()  # what `keep_alive` raises
        self.keep_alive_count = 0
        self._script = list(script)
        self._at = 0
        self._is_open = False
        self._journal = journal
        self._grown = Condition()

    def add(self, *steps: Window | BridgeError) -> None:
        """Make the script longer."""
        with self._grown:
            self._script += steps
            self._grown.notify_all()

    def open(self, position: Position | None, state: Mapping[str, Any]) -> None:
        """See the port. Raises: InternalError when no window moved there; a fault that stands there."""
        with self._grown:
            self._at = 0 if position is None else self._behind(position, state)
            self._fail()
            self._is_open = True

    def read(self, timeout_s: float, *, is_busy: Callable[[], bool] = lambda: False) -> Window | None:  # noqa: ARG002
        """See the port. Raises: the fault that comes next; InternalError when it is not open."""
        with self._grown:
            if not self._is_open:
                raise InternalError(f"source {self.name} is read before it is open")
            self._grown.wait_for(lambda: self._at < len(self._script), timeout_s)
            self._fail()
            return self._next() if self._at < len(self._script) else None

    def renew(self, position: Position | None, state: Mapping[str, Any], cause: str) -> Window:  # noqa: ARG002
        """The next window of the script, which begins an epoch. Raises: the fault that comes next."""
        with self._grown:
            self._fail()
            return self._next()

    def confirm(self, position: Position) -> None:
        """See the port. Raises: InternalError when it moves back, or the journal does not hold it."""
        if self.confirmed and position < self.confirmed[-1]:  # I2
            raise InternalError(f"what {self.name} was told moves back")
        held = None if self._journal is None else self._journal.position(self.name)[0]
        if self._journal is not None and (held is None or held < position):  # I1
            raise InternalError(f"{self.name} was told of what the journal does not hold")
        self.confirmed.append(position)

    def keep_alive(self) -> None:
        """Count. Raises: the next of `session_faults`."""
        self.keep_alive_count += 1
        if self.session_faults:
            raise self.session_faults.popleft()

    def control(self, action: str, stream: str) -> None:
        """Remember what was asked for."""
        self.controls.append((action, stream))

    def findings(self) -> list[Finding]:
        """What `problems` holds."""
        return list(self.problems)

    def observation(self) -> None:
        """Nothing is looked at."""

    def interrupt(self) -> None:
        """Let a `read` that waits return."""
        with self._grown:
            self._grown.notify_all()

    def close(self) -> None:
        """See the port."""
        self._is_open = False

    def _behind(self, position: Position, state: Mapping[str, Any]) -> int:
        for number, step in reversed(list(enumerate(self._script))):
            if isinstance(step, Window) and step.position == position and dict(step.state) == dict(state):
                return number + 1
        raise InternalError(f"source {self.name} is opened where it never was")

    def _fail(self) -> None:
        """Raise the fault that comes next, once."""
        step = self._step()
        if isinstance(step, BridgeError):
            del self._script[self._at]
            raise step

    def _step(self) -> Window | BridgeError | None:
        return self._script[self._at] if self._at < len(self._script) else None

    def _next(self) -> Window:
        step = self._step()
        if not isinstance(step, Window):
            raise InternalError(f"the script of {self.name} has no window here")
        self._at += 1
        return step
