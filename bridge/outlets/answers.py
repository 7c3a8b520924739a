"""What an answer to a request of ours means."""

import time

from bridge.client import Answer
from bridge.errors import SinkRefused, SinkUnavailable

_NEVER = frozenset({400, 413, 422})  # this very request is wrong; everything else may be mended on the other side
_OK = range(200, 300)


def require_ok(answer: Answer) -> None:
    """Raises: SinkRefused for what is never taken, SinkUnavailable for what may be taken later."""
    if answer.status in _OK:
        return
    if answer.status in _NEVER:
        raise SinkRefused(f"answered {answer.status}", hint="Report this: the message is not one it can take.")
    hint = "Mend the address or the secret of the outlet; what it was not told waits."
    raise SinkUnavailable(f"answered {answer.status}", hint=hint, retry_after_s=answer.retry_after_s(time.time()))
