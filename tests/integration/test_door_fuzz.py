"""The door under requests that a machine makes up from its own description: no 5xx, no answer that is not described."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.door import Served, served


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Served]:
    """A door with events and letters of both streams."""
    with served(tmp_path) as running:
        for stream in ("orders", "payroll"):
            running.append(200, stream=stream)
            running.reject(20, stream=stream)
        yield running


def fuzz(door: Served, *options: str) -> int:
    """Let schemathesis loose on the door; it fails on anything that its checks find.

    Returns: how many requests it made up.
    """
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [program, "run", f"http://127.0.0.1:{door.port}/openapi.json", "--header", "Authorization: Bearer root"]
    command += ["--phases", "coverage,fuzzing", "--suppress-health-check", "all"]
    command += ["--exclude-operation-id", "followEvents"]  # that one never ends
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=3_000)
    assert done.returncode == 0, done.stdout[-6_000:]
    assert door.ask("/v1/streams").status == 200
    return int(re.findall(r"(\d+) generated", done.stdout)[-1])


def test_made_up_requests_find_nothing(door: Served) -> None:
    assert fuzz(door, "--max-examples", "5", "--max-time", "30", "--generation-deterministic") > 0


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_ten_thousand_made_up_requests_find_nothing(door: Served) -> None:
    made_up = fuzz(door, "--max-examples", "400", "--generation-database", "none")
    print(f"{made_up} requests")
    assert made_up >= 10_000
