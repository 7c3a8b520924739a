"""The direction of imports: the contracts in pyproject.toml hold, and pure packages reach no outside world."""

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
# What a pure function has no use for: databases, wires, processes and the clock.
OUTSIDE = {"apsw", "asyncio", "http", "psycopg", "socket", "sqlite3", "ssl", "subprocess", "time", "urllib", "uvicorn"}
PURE = [
    f"bridge.{name}"
    for name in ("errors", "model", "ports", "alarm", "contract", "command", "resilience", "judge", "heal", "export")
]


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("bridge", include_external_packages=True, cache_dir=None)


def test_imports_point_one_way() -> None:
    lint = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def outside_of(package: str, imports: grimp.ImportGraph) -> set[str]:
    """The outside modules that a package imports, itself or through others."""
    if package not in imports.modules:
        return set()
    return imports.find_upstream_modules(package, as_package=True) & OUTSIDE


@pytest.mark.parametrize("package", PURE)
def test_a_pure_package_reaches_no_outside_world(package: str, imports: grimp.ImportGraph) -> None:
    assert outside_of(package, imports) == set()


def test_an_import_through_another_module_is_found() -> None:
    imports = grimp.ImportGraph()
    for module in ("bridge.contract", "bridge.model", "socket"):
        imports.add_module(module)
    imports.add_import(importer="bridge.contract", imported="bridge.model")
    imports.add_import(importer="bridge.model", imported="socket")
    assert outside_of("bridge.contract", imports) == {"socket"}
