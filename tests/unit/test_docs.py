"""The documentation hangs together: every link leads somewhere, every page can be reached."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
PROOF = re.compile(r"`([a-z]+/test_\w+)::(test_\w+)`")
LINK = re.compile(r"\[[^]]+\]\(([^)#\s]+)[^)]*\)")


def targets(page: Path) -> set[Path]:
    """The files of this repository that a page links to."""
    links = LINK.findall(page.read_text())
    return {(page.parent / link).resolve() for link in links if "://" not in link}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [target for target in targets(page) if not target.exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    pages = {page for page in ROOT.glob("docs/*.md") if page != index}
    assert pages <= targets(index)


def test_the_index_names_the_layers_that_imports_are_held_to() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    there = {path.stem for path in (ROOT / "bridge").iterdir()} - {"__main__"}
    layers = [set(re.findall(r"\w+", layer)) & there for layer in reversed(settings["layers"])]
    index = (ROOT / "docs" / "index.md").read_text()
    told = index[index.index("`errors` ←") : index.index("`cli`\n") + 5].split("←")
    assert [set(re.findall(r"`(\w+)`", names)) for names in told[2:]] == [names for names in layers[1:] if names]


def test_every_decision_has_the_five_headings() -> None:
    expected = ["Summary", "Context", "Decision", "Failure modes", "Consequences"]
    for record in ROOT.glob("docs/decisions/*.md"):
        assert re.fullmatch(r"\d{8}-[a-z0-9-]+\.md", record.name)
        assert re.findall(r"^## (.+)$", record.read_text(), re.MULTILINE) == expected, record.name


def proofs() -> list[tuple[str, list[str]]]:
    """Each fault of the table of proofs, with the cells of its row."""
    rows = [line.strip("| \n").split(" | ") for line in (ROOT / "docs" / "proofs.md").read_text().splitlines()]
    return [(row[0], row) for row in rows if len(row) == 4 and row[0] != "fault"]


def is_long(file: str, name: str) -> bool:
    """Whether a test is of the soak. Raises: AssertionError when there is no such test."""
    tree = ast.parse((ROOT / "tests" / f"{file}.py").read_text())
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert found, f"there is no {file}::{name}"
    return any("mark.soak" in ast.unparse(each) for each in found[0].decorator_list)


@pytest.mark.parametrize(("fault", "row"), proofs(), ids=[fault.split(":")[0] for fault, _ in proofs()])
def test_every_fault_has_a_proof_in_short_and_every_test_that_is_named_exists(fault: str, row: list[str]) -> None:
    short, long = (PROOF.findall(cell) for cell in row[2:])
    assert short, fault
    assert not any(is_long(*each) for each in short)
    assert all(is_long(*each) for each in long)


def test_the_faults_of_the_way_out_are_all_in_the_table() -> None:
    wanted = {"A3", *(f"E{n}" for n in range(1, 13)), *(f"H{n}" for n in range(4, 8))}
    wanted |= {f"S{n}" for n in (1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14)}
    assert wanted <= {fault.partition(":")[0] for fault, _ in proofs()}
