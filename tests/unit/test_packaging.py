"""What we ship beside the package: the lock, the container image, the Compose file and the systemd unit."""

import configparser
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import bridge

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def read_lock(name: str) -> dict[str, str]:
    """Distribution -> pinned version of one exported lock."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    pins = (re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;]+)", line) for line in lines)
    return {pin[1].lower(): pin[2] for pin in pins if pin}


def check_lock(wanted: list[str], lock: str) -> None:
    pins = read_lock(lock)
    unmet = [line for line in map(Requirement, wanted) if not line.specifier.contains(pins.get(line.name.lower(), "0"))]
    assert not unmet, f"run `make lock`: {lock} does not meet {unmet}"


def test_the_locks_meet_what_the_project_asks_for(project: dict[str, Any]) -> None:
    check_lock(project["project"]["dependencies"], "run.txt")
    check_lock(project["project"]["dependencies"] + project["dependency-groups"]["dev"], "dev.txt")
    check_lock(project["project"]["optional-dependencies"]["bench"], "bench.txt")


def test_every_pin_carries_a_hash() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        entries = re.split(r"\n(?=\S)", lock.read_text())
        pins = [entry for entry in entries if entry.strip() and not entry.startswith("#")]
        assert pins, lock
        assert [
            entry for entry in pins if not re.match(r"\S+==\S+( ;[^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", entry)
        ] == []


def test_the_version_is_told_in_one_place() -> None:
    assert version("legacy-bridge") == bridge.__version__


def validate_compose(path: Path) -> subprocess.CompletedProcess[str]:
    check = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(check, capture_output=True, text=True, check=False)


def test_the_compose_file_follows_the_compose_specification() -> None:
    done = validate_compose(ROOT / "docker-compose.yml")
    assert done.returncode == 0, done.stdout


def test_a_compose_file_with_a_misspelt_key_is_refused(tmp_path: Path) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    compose["services"]["bridge"]["helthcheck"] = {}
    (tmp_path / "docker-compose.yml").write_text(yaml.safe_dump(compose))
    assert validate_compose(tmp_path / "docker-compose.yml").returncode == 1


def test_every_file_the_compose_file_mounts_is_in_the_repository() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", [])]
    missing = [mount for mount in mounts if mount.startswith("./") and not (ROOT / mount.split(":")[0]).exists()]
    assert missing == []


def test_every_image_is_pinned_to_a_version() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    images = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    images += [service["image"] for service in compose["services"].values() if "build" not in service]
    assert images
    assert [image for image in images if not re.search(r":\d+\.\d+", image)] == []


def test_the_container_does_not_run_as_root() -> None:
    last_stage = (ROOT / "Dockerfile").read_text().rsplit("\nFROM ", 1)[1]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last_stage, re.MULTILINE)


def test_the_image_is_built_from_files_that_the_build_context_admits() -> None:
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    copied = {source for line in copies for source in line.split()}
    assert copied == admitted
    assert all((ROOT / source).exists() for source in admitted)


UNIT = ROOT / "deploy" / "systemd" / "legacy-bridge.service"


def test_the_unit_is_watched_and_starts_again_unless_a_person_must_act() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys are case-sensitive
    unit.read(UNIT)
    service = unit["Service"]
    assert (service["Type"], service["WatchdogSec"], service["Restart"]) == ("notify", "60", "on-failure")
    assert service["RestartPreventExitStatus"] == "77 78"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit_and_rates_it_safe(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text()))
    verify = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (verify.returncode, verify.stderr) == (0, "")
    rate = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(copy)]
    assert subprocess.run(rate, capture_output=True, check=False).returncode == 0
