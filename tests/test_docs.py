"""README and docs: links, anchors and paths exist, and no key or variable is left out."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

import gtp_fast
from gtp_fast import agents, tasks

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = {"build", "dist", "runs", "site", "wheelhouse"}
EXTENSIONS = (".py", ".cpp", ".hpp", ".cu", ".cuh", ".cmake")


def files(*endings: str) -> list[Path]:
    """Return the project's files with these endings, not those of environments and builds."""
    tops = [p for p in ROOT.iterdir() if p.name not in LEFT_OUT and not p.name.startswith(".")]
    tops = [p for p in tops if not (p / "pyvenv.cfg").exists()]
    found = [p for top in tops for p in (top.rglob("*") if top.is_dir() else [top])]
    return sorted(path for path in found if path.suffix in endings)


PAGES = files(".md")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures that lie in the repository."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))
    return [x for x in LINK.findall(text) if not re.match(r"[a-z][a-z0-9+.-]*:", x)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub names them."""
    seen: Counter[str] = Counter()
    found = set()
    for title in re.findall(r"^#{1,6} +(.+?) *$", FENCE.sub("", page.read_text()), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def broken(page: Path) -> Iterator[str]:
    """Yield what is wrong with the links of a page."""
    for link in links(page):
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_relative_to(ROOT) or not target.exists():
            yield f"{link}: there is no such file"
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target)):
            yield f"{link}: there is no such heading"


def section(title: str) -> str:
    """Return the README's text below a heading."""
    return (ROOT / "README.md").read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


def test_a_broken_link_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b`, c's\n## Twice\n## Twice\n[x](#a-b-cs) [x](#twice-1) [x](https://else.where/y)\n"
        "```\n# no heading [x](gone.md)\n```\n`[x](gone.md)` ![x](gone.png)\n"
        "[x](page.md#no-heading) [x](../page.md)\n"
    )
    assert [line.split(":")[0] for line in broken(page)] == [
        "gone.png",
        "page.md#no-heading",
        "../page.md",
    ]


def test_an_environment_in_the_checkout_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    for name in ("venv", "docs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.md").touch()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    assert files(".md") == [tmp_path / "docs" / "page.md"]


OPERATIONS = (
    "perturb", "loss", "weigh", "td", "sampler", "mlp", "embed", "adam", "tally", "philox",
)  # fmt: skip
NO_BENCHMARK = ("tally",)


def test_the_table_of_equations_names_every_operation_once() -> None:
    rows = [row for row in section("From equation to code").splitlines() if row.startswith("| ")]
    assert len(rows) == 1 + len(OPERATIONS)
    for name, row in zip(OPERATIONS, rows[1:], strict=True):
        cells = row.strip("| ").split(" | ")[1:]
        reference, kernel, native, test, benchmark = (
            cell if cell == "-" else LINK.findall(cell)[0] for cell in cells
        )
        assert reference == f"gtp_fast/reference/{name}.py"
        assert kernel == ("csrc/cuda/sampler.cu" if name == "sampler" else f"kernels/{name}.py")
        assert native.startswith("csrc/")
        assert test == f"tests/ops/test_{name}.py"
        assert benchmark == ("-" if name in NO_BENCHMARK else f"benchmarks/bench_{name}.py")
        assert all((ROOT / path).is_file() for path in (reference, kernel, native, test))
        assert (ROOT / "gtp_fast" / "ops" / f"{name}.py").is_file()


def layout() -> list[str]:
    """Return the paths of the README's tree."""
    paths, parent = [], ""
    for line in section("Layout").partition("```\n")[2].partition("```")[0].splitlines():
        names = re.findall(r"[\w./]+(?:/|\.py)(?= |$)", line)
        inside = line.startswith(" ")
        paths += [(parent if inside else "") + name for name in names]
        parent = parent if inside else names[0]
    return paths


def test_every_path_of_the_layout_exists() -> None:
    paths = layout()
    assert "gtp_fast/ops/" in paths and "csrc/cpu/isa/" in paths and "docs/" in paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_room_stands_in_the_layout() -> None:
    rooms = [p for p in (ROOT / "gtp_fast").iterdir() if p.is_dir() and any(p.glob("*.py"))]
    shown = " ".join(layout())
    assert [p.name for p in rooms if f"gtp_fast/{p.name}/" not in shown] == []


def test_every_environment_variable_that_is_read_is_explained() -> None:
    read = re.compile(r"(?:environ(?:\.get\(|\.setdefault\(|\[)|getenv\()\"(\w+)\"")
    code = [
        path
        for path in files(*EXTENSIONS)
        if path.relative_to(ROOT).parts[0] in ("gtp_fast", "kernels", "csrc", "setup.py")
    ]
    names = {name for path in code for name in read.findall(path.read_text())}
    assert {"GTP_FAST_ISA", "GTP_FAST_CUDA", "GTP_FAST_CACHE", "GOMP_SPINCOUNT"} <= names
    page = (ROOT / "docs" / "running.md").read_text()
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_every_rule_and_metric_is_explained() -> None:
    formats, protocol = ((ROOT / "docs" / f"{x}.md").read_text() for x in ("formats", "protocol"))
    for field in dataclasses.fields(tasks.Rules):
        assert f"`{field.name}`" in formats
        assert f"`--{field.name.replace('_', '-')}`" in protocol
    for name in agents.REGISTRY:
        if name != "gtp":
            (row,) = [x for x in formats.splitlines() if x.startswith("| ") and name in row_of(x)]
            columns = re.findall(r"`(\w+)`", row)
            assert tuple(columns) == agents.find(name).metric_names, name


def row_of(line: str) -> list[str]:
    """Return the names in the first cell of a row that lists metrics."""
    return line.split(" | ")[0].strip("| ").split(", ") if line.count(" | ") == 1 else []


def test_every_command_is_in_the_readme() -> None:
    shown = section("Commands")
    modules = [*(ROOT / "gtp_fast").glob("*.py"), *(ROOT / "gtp_fast").glob("*/__main__.py")]
    commands = [p for p in modules if "cli.run(main)" in p.read_text()]
    assert len(commands) >= 10
    for path in commands:
        inside = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in inside if part != "__main__")
        assert f"`{name}" in shown, name


def test_the_citation_names_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == gtp_fast.__version__


def test_the_form_for_bugs_asks_for_the_machine() -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text())
    asked = {field["id"]: field["attributes"]["label"] for field in form["body"]}
    assert "python -m gtp_fast" in asked["machine"]
