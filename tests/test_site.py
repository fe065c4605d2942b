"""The docs site builds strictly, asks no other server for anything, and shows every page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ASKS = re.compile(
    r"<(?:script|img|iframe)[^>]+src=\"https?:|<link[^>]+href=\"https?:[^>]+stylesheet"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does; a broken link or a docstring not found fails.

    Without --quiet, under which mkdocs counts no warnings.
    """
    pytest.importorskip("mkdocs", reason="the docs extra is not installed")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    pages = {page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")}
    shown = {page.relative_to(site).with_suffix(".md") for page in site.rglob("*.html")}
    assert pages - shown == set()


def test_no_page_asks_another_server(site: Path) -> None:
    assert [page.name for page in site.glob("*.html") if ASKS.search(page.read_text())] == []


def test_agents_show_their_deviations_and_settings(site: Path) -> None:
    text = (site / "agents.html").read_text()
    assert "the last checkpoint is reported" in re.sub(r"\s+", " ", text)
    assert "Intervals of the time grid in the first stage" in (site / "settings.html").read_text()
