"""Running a reader as a process of its own and taking its figures: the last line it prints, as JSON."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.claim import Sample
from bench.memory import watched

TIMEOUT_S = 3600
ROOT = Path(__file__).parents[1]


def measure(module: str, *arguments: str) -> Sample:
    """Run ``python -m module``; the values are the JSON object on its last line.

    It runs in a folder of its own, because Debezium's binding writes a log to where it is started.
    Raises: RuntimeError with the end of its output when it fails.
    """
    command = [sys.executable, "-m", module, *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with (
        tempfile.TemporaryDirectory(prefix="legacy-bridge-bench-") as folder,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        try:
            with watched(process.pid) as peak:
                output, _ = process.communicate(timeout=TIMEOUT_S)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError(f"{module} ended with {process.returncode}:\n{output[-2000:]}")
    return Sample(json.loads(output.splitlines()[-1]), peak.rss_mb)
