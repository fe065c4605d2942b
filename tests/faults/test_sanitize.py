"""The short form of what runs under sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import sanitize


def needs(library: str) -> pytest.MarkDecorator:
    reason = sanitize.missing(library)
    return pytest.mark.skipif(bool(reason), reason=f"{reason} here")


@needs("libasan")
def test_broken_policies_break_no_rule_of_c_plus_plus(tmp_path: Path) -> None:
    found = sanitize.header(tmp_path, count=500)
    assert found.fault == "", found


@needs("libtsan")
def test_the_thread_team_has_no_race(tmp_path: Path) -> None:
    assert sanitize.team(tmp_path).fault == ""


@needs("libtsan")
def test_weights_that_are_replaced_while_threads_read_them_have_no_race(tmp_path: Path) -> None:
    assert sanitize.versions(tmp_path).fault == ""


@needs("libasan")
def test_the_sanitizers_see_what_is_wrong(tmp_path: Path) -> None:
    source = tmp_path / "wrong.cpp"
    source.write_text("int main(int n, char**) { int x[2] = {1, 2}; return x[n + 1]; }\n")
    program = sanitize._compiled(tmp_path, str(source), *sanitize.MEMORY)
    found = subprocess.run([program], text=True, capture_output=True, check=False)
    assert found.returncode and "error" in sanitize._first(found.stderr)
