"""The operator's page knows every finding and every waiver."""

import re
from pathlib import Path

import pytest

from bridge.sources.postgres.setup import WAIVERS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "postgres.md").read_text()
ADAPTER, SHARED = ROOT / "bridge" / "sources" / "postgres", ROOT / "bridge" / "postgres"
SOURCES = [ADAPTER / "preflight.py", SHARED / "rights.py", ADAPTER / "slot.py"]
CODES = sorted(
    {
        code
        for path in SOURCES
        for code in re.findall(r'"((?:right|public|server|slot|table|publication)\.\w+)"', path.read_text())
    }
)


@pytest.mark.parametrize("code", CODES)
def test_every_finding_is_explained(code: str) -> None:
    assert f"`{code}`" in PAGE


@pytest.mark.parametrize("waiver", sorted(WAIVERS))
def test_every_waiver_is_explained(waiver: str) -> None:
    assert f"`{waiver}`" in PAGE


def test_the_page_explains_no_finding_that_is_gone() -> None:
    explained = re.findall(r"`((?:right|public|server|slot|table|publication)\.\w+)`", PAGE)
    assert set(explained) == set(CODES)
