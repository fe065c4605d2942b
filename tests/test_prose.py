"""Docstrings open with one short sentence, in the field's words (CONTRIBUTING, Prose)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("gtp_fast", "kernels", "benchmarks")
LIMIT = 15
# Names, shapes and formulas are no words.
FORMULA = re.compile(r"\[[^\]]*\]|`[^`]*`|\([^)]*\)")
WORD = re.compile(r"(?<![\w.])[A-Za-z][a-z'-]+\b(?![\w(]|\.\w)")
PARAPHRASE = re.compile(r"\b(be had|own up|anew|ways it is)\b")


def words(docstring: str) -> int:
    """Return the number of words of a docstring's first paragraph."""
    return len(WORD.findall(FORMULA.sub(" ", docstring.split("\n\n")[0])))


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every docstring of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


@pytest.mark.parametrize("room", ROOMS)
def test_a_docstring_opens_with_a_short_sentence(room: str) -> None:
    long = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for line, text in docstrings(path)
        if words(text) > LIMIT
    ]
    assert not long, f"more than {LIMIT} words: {', '.join(long)}"


@pytest.mark.parametrize("room", [*ROOMS, "csrc"])
def test_no_paraphrase_of_a_plain_word(room: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / room).rglob("*.*"))
        if path.suffix in (".py", ".cpp", ".hpp", ".cu", ".cuh")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if PARAPHRASE.search(line)
    ]
    assert not found, f"write 'not available' and the like: {', '.join(found)}"


def test_formulas_and_shapes_are_no_words() -> None:
    assert words("Return w [S, B] (eq. 14) of `rows`, as x_t = x + t z.") == 3
    assert words("Return one thing.\n\nThe rest does not count.") == 3
