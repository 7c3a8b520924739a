"""Named places where a test can make the process die, to prove that nothing is lost there.

`BRIDGE_FAILPOINT=ingest.after_append:crash@3` kills the process with SIGKILL the third time it gets there. Without the
variable a failpoint costs one dictionary look-up.
"""

import os
import signal


def _parse(setting: str) -> dict[str, int]:
    points = {}
    for part in filter(None, setting.split(",")):
        name, _, action = part.partition(":")
        verb, _, count = action.partition("@")
        if verb != "crash" or not count.isdigit() or not int(count):
            message = f"BRIDGE_FAILPOINT: {part!r} is not of the form name:crash@count"
            raise ValueError(message)
        points[name] = int(count)
    return points


_left = _parse(os.environ.get("BRIDGE_FAILPOINT", ""))


def reach(name: str) -> None:
    """Say that the process is at the place `name`; does not return where a test wants it dead."""
    if name in _left:
        _left[name] -= 1
        if _left[name] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
