"""S12: what a release is made of is known, and whether any of it has a known vulnerability is asked, not assumed.

The advisory service is a server of our own that speaks OSV's API; pip-audit, uv and the schema are the real ones.
"""

import importlib.resources
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import bridge

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LOCKS = [path.name for path in (ROOT / "requirements").glob("*.txt")]
ADVISORY = {
    "id": "PYSEC-0000-1",
    "modified": "2026-01-01T00:00:00Z",
    "details": "It can be made to do what it must not.",
    "affected": [
        {
            "package": {"name": "h11", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
    ],
}


class Advisories(BaseHTTPRequestHandler):
    """An advisory service that knows of what `known` says, by package; asks are kept."""

    known: Mapping[str, Any]
    asked: list[tuple[str, str]]
    status: int

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = question["package"]["name"]
        self.asked.append((name, question["version"]))
        body = json.dumps({"vulns": [self.known[name]]} if name in self.known else {}).encode()
        self.send_response(self.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def advisories(*, status: int = 200, **known: Any) -> Iterator[type[Advisories]]:  # noqa: ANN401  of OSV
    handler = type("Handler", (Advisories,), {"known": known, "asked": [], "status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        handler.url = f"http://127.0.0.1:{server.server_port}/v1/query"  # type: ignore[attr-defined]
        yield handler
        server.shutdown()


def audit(url: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ADVISORIES": url}
    command = [str(ROOT / ".ci" / "audit"), str(BIN)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=280)


def pins(lock: str) -> set[tuple[str, str]]:
    """Name and version of every package of a lock."""
    found = re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;]+)", (ROOT / "requirements" / lock).read_text(), re.MULTILINE
    )
    return {(name.lower(), version) for name, version in found}


def test_every_locked_package_is_asked_about() -> None:
    with advisories() as service:
        done = audit(service.url)  # type: ignore[attr-defined]
    assert done.returncode == 0, done.stderr
    wanted = set().union(*map(pins, LOCKS))
    assert done.stdout == f"no known vulnerability in {len(wanted)} locked packages\n"
    assert set(service.asked) == wanted


def test_a_known_vulnerability_fails_the_audit_by_name() -> None:
    with advisories(h11=ADVISORY) as service:
        done = audit(service.url)  # type: ignore[attr-defined]
    assert done.returncode == 1
    assert re.search(r"^h11 +\S+ +PYSEC-0000-1 +99\.0", done.stdout, re.MULTILINE), done.stdout


def test_no_answer_is_no_good_answer() -> None:
    with advisories(status=503) as service:
        done = audit(service.url)  # type: ignore[attr-defined]
    assert (done.returncode, done.stdout) == (69, "")
    assert "gave no answer" in done.stderr
    done = audit(service.url)  # type: ignore[attr-defined]  # nobody listens there any more
    assert (done.returncode, done.stdout) == (69, "")
    assert "gave no answer" in done.stderr


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The bill of materials, made as `make sbom` makes it."""
    extras = re.search(r"^EXTRAS +:= (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert extras is not None
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, str(ROOT / ".ci" / "sbom.py"), str(folder), *extras[1].split()], check=True)
    (path,) = folder.iterdir()
    assert path.name == f"legacy-bridge-{bridge.__version__}.cdx.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def schema(version: str) -> jsonschema_rs.Draft7Validator:
    """CycloneDX's own schema of a version, with those that it refers to."""
    folder = importlib.resources.files("cyclonedx.schema._res")
    names = (f"bom-{version}.SNAPSHOT.schema.json", "spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
    texts = [json.loads((folder / name).read_text()) for name in names]
    where = [f"http://cyclonedx.org/schema/{name}" for name in names]
    registry = jsonschema_rs.Registry(list(zip(where, texts, strict=True)))
    return jsonschema_rs.Draft7Validator(texts[0], registry=registry)


def test_the_bill_of_materials_is_valid_under_the_schema_of_cyclonedx(bill: dict[str, Any]) -> None:
    validator = schema(bill["specVersion"])
    assert list(validator.iter_errors(bill)) == []
    assert list(validator.iter_errors(bill | {"components": [{"name": "no type"}]})) != []


def test_the_bill_of_materials_names_every_package_of_the_lock_with_its_hashes(bill: dict[str, Any]) -> None:
    packages = bill["components"]
    assert {(each["name"], each["version"]) for each in packages} == pins("run.txt")
    for each in packages:
        assert each["purl"].startswith(f"pkg:pypi/{each['name']}@{each['version']}")
        assert [file for file in each["externalReferences"] if not file.get("hashes")] == [], each["name"]


def test_the_bill_of_materials_says_what_it_is_of_and_what_needs_what(bill: dict[str, Any]) -> None:
    main = bill["metadata"]["component"]
    assert (main["name"], main["version"], main["type"]) == ("legacy-bridge", bridge.__version__, "application")
    needs = {each["ref"]: set(each.get("dependsOn", ())) for each in bill["dependencies"]}
    known = {each["bom-ref"] for each in bill["components"]}
    assert set().union(*needs.values()) <= known | {main["bom-ref"]}
    reached, waiting = set[str](), [main["bom-ref"]]
    while waiting:
        new = needs[waiting.pop()] - reached
        reached |= new
        waiting += new
    assert reached >= known
