"""Running a reader as a process of its own and taking its figures: the last line it prints, as JSON."""

import json
import subprocess
import sys

from bench.claim import Sample
from bench.memory import watched

TIMEOUT_S = 3600


def measure(module: str, *arguments: str) -> Sample:
    """Run ``python -m module``; the values are the JSON object on its last line.

    Raises: RuntimeError with the end of its output when it fails.
    """
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            with watched(process.pid) as peak:
                output, _ = process.communicate(timeout=TIMEOUT_S)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError(f"{module} ended with {process.returncode}:\n{output[-2000:]}")
    return Sample(json.loads(output.splitlines()[-1]), peak.rss_mb)
