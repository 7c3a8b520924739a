"""Memory that nothing uses any more goes back to the operating system.

glibc keeps what was freed between blocks that are still in use: after a large index that can be as much as the index.
malloc_trim(3) gives back whole pages of it. Other C libraries have no such call.
"""

import ctypes
from functools import lru_cache


def give_back() -> None:
    """Give back what is free. The whole heap is gone through, so not for every little thing."""
    trim = _trim()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _trim() -> "ctypes._NamedFuncPointer | None":
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # TypeError: Windows
        return None
