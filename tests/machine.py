"""What a test needs of the machine it runs on."""

import os
from pathlib import Path

import pytest


def require(is_possible: object, what: str) -> None:
    """Skip a test that this machine cannot run; in CI that is a failure."""
    if not is_possible:
        if os.environ.get("CI"):
            pytest.fail(what)
        pytest.skip(what)


def fill(folder: Path) -> Path:
    """Leave no byte free on a folder's disk; returns the file to remove again."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return ballast
