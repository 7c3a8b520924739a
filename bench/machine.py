"""What the figures were measured on."""

import os
import platform
import subprocess
from pathlib import Path

import psutil

from demo.server import VERSIONS


def describe() -> dict[str, str]:
    """Processor, cores, memory, kernel, and the versions that matter."""
    model = (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name"))
    return {
        "cpu": next(model, platform.machine()),
        "cores": str(os.cpu_count()),
        "memory_gb": f"{psutil.virtual_memory().total / 1e9:.0f}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgresql": _postgresql(),
        "scale": os.environ.get("BENCH_SCALE", "1"),
    }


def _postgresql() -> str:
    server = next(iter(VERSIONS.values())) / "postgres"
    return subprocess.run([str(server), "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
