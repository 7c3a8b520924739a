"""The demonstration, run as a person would: it ends by itself and counts nothing lost."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    assert {"bridge.yaml", "oracle.jsonl", "files.jsonl", "daemon.log", "generator.log"} <= {
        path.name for path in folder.iterdir()
    }
    assert not [
        each.pid for each in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(each.info["cmdline"] or ())
    ]
    assert_files(folder)


def assert_files(folder: Path) -> None:
    """Every file was taken but the one that came again; the spoilt record is a letter that says where it was."""
    outcomes = {each["name"]: each["outcome"] for each in shown(folder, "file", "list", "host")}
    assert len(outcomes) > 3
    again = {name: outcome for name, outcome in outcomes.items() if outcome != "taken"}
    assert again == {"RCV000003_AGAIN.DAT": "duplicate"}
    (letter,) = shown(folder, "dead", "list", "--stream", "goods")
    (whole,) = shown(folder, "dead", "show", str(letter["id"]))
    assert whole["raw"]["$file"] == "RCV000002.DAT"
    assert int(whole["raw"]["$offset"]) == 25 * 58


def shown(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """What a command prints of the kept journal."""
    command = [sys.executable, "-m", "bridge", "--config", str(folder / "bridge.yaml"), *arguments, "--json"]
    environment = dict(os.environ) | {"DEMO_HOOK_PORT": "1", "DEMO_HOOK_SECRET": "whsec_" + "MDAw" * 11}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]
