"""The demonstration, run as a person would: it ends by itself and counts nothing lost."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def test_the_demo_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Two seconds of business: the last lines are the promise, the kept files are all there, no process is left."""
    folder = tmp_path / "kept"
    command = [sys.executable, "-m", "bridge", "demo", "--keep", str(folder), "--rate", "50"]
    environment = dict(os.environ) | {"DEMO_SECONDS": "2"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-2:] == ["lost: 0", "doubled: 0"]
    assert {"bridge.yaml", "oracle.jsonl", "daemon.log", "generator.log"} <= {path.name for path in folder.iterdir()}
    assert not [
        each.pid for each in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(each.info["cmdline"] or ())
    ]
