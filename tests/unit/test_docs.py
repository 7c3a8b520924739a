"""The documentation hangs together: every link leads somewhere, every page can be reached."""

import re
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


def test_every_decision_has_the_five_headings() -> None:
    expected = ["Summary", "Context", "Decision", "Failure modes", "Consequences"]
    for record in ROOT.glob("docs/decisions/*.md"):
        assert re.fullmatch(r"\d{8}-[a-z0-9-]+\.md", record.name)
        assert re.findall(r"^## (.+)$", record.read_text(), re.MULTILINE) == expected, record.name
