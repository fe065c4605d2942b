"""What pages say in passing holds: paths, names in files, shares of a time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
# What stood there when a change was made may be gone.
PAGES = [page for page in PAGES if page.name != "CHANGELOG.md"]
NAMED = re.compile(
    r"(?<![\w./-])(?:tests|docs|gtp_fast|kernels|csrc|benchmarks|\.ci)/[\w./-]*\w\.[a-z]{2,5}\b"
)
MADE = ("benchmarks/results/gpu/",)
"""Folders of files that commands write."""


def absent(text: str) -> list[str]:
    """Return the paths of a text that are not there."""
    names = [name for name in NAMED.findall(text) if not name.startswith(MADE)]
    return [name for name in names if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    assert absent(page.read_text()) == []


def test_a_path_that_is_gone_is_found() -> None:
    text = (
        "`tests/gone.py`, (gtp_fast/cli.py), runs/docs/gone.md, benchmarks/results/gpu/part1.json"
    )
    assert absent(text) == ["tests/gone.py"]


def test_what_the_readme_says_is_in_a_file_is_there() -> None:
    said = re.findall(r"`(\w+)` in \[[^\]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert len(said) >= 2
    assert [(name, file) for name, file in said if name not in (ROOT / file).read_text()] == []


def test_the_shares_of_a_rounded_policys_time_are_those_of_the_benchmarks() -> None:
    table = (ROOT / "docs" / "benchmarks.md").read_text()
    full, bf16, int8 = (
        [
            float(ours)
            for ours in re.findall(
                rf"\| sampler, batch 1, K = 5{kind} \| [^|]+ \| [^|]+ \| ([\d.]+) us \|", table
            )
        ]
        for kind in ("", ", bf16", ", int8")
    )
    amd, intel = (f"{own / whole:.1f}" for own, whole in zip(bf16, full, strict=True))
    running = (ROOT / "docs" / "running.md").read_text()
    assert f"about {amd} (AMD) or {intel} (Intel) of the time of one action" in running
    (said,) = re.findall(r"in one byte: about ([\d.]+) of the time", running)
    assert {f"{own / whole:.1f}" for own, whole in zip(int8, full, strict=True)} == {said}
