"""Killed at any step, the Parquet sink loses nothing and doubles nothing, however the rest is cut afterwards."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.recovery.parquet_writer import LAST

ROOT = Path(__file__).parents[2]
REACHED = {"parquet.written": 2, "parquet.noted": 2, "parquet.named": 4}  # how often, by point


def run(folder: Path, size: int, *, failpoint: str = "") -> int:
    environment = {**os.environ, "BRIDGE_FAILPOINT": failpoint, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.recovery.parquet_writer", str(folder), str(size)]
    return subprocess.run(command, env=environment, cwd=ROOT, check=False, timeout=120).returncode


@pytest.mark.parametrize(
    "failpoint",
    [f"{point}:crash@{count}" for point, most in REACHED.items() for count in range(1, most + 1)],
)
def test_a_kill_loses_and_doubles_nothing(tmp_path: Path, failpoint: str) -> None:
    assert run(tmp_path, 20, failpoint=failpoint) == -signal.SIGKILL
    assert run(tmp_path, 13) == 0
    found: list[int] = []
    for path in tmp_path.rglob("*.parquet"):
        found += pq.read_table(path, columns=["_seq"], partitioning=None).column(0).to_pylist()
    assert sorted(found) == list(range(1, LAST + 1))
    assert [path.name for path in tmp_path.rglob(".*")] == [".lock"]
