"""The documentation hangs together: every link leads somewhere, every page can be reached."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
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
