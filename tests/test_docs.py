"""README and docs: links, anchors and paths exist, and no key, variable or figure is left out."""

from __future__ import annotations

import dataclasses
import json
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


def test_the_figures_of_the_claims_stand_in_generated_text() -> None:
    readme = (ROOT / "README.md").read_text()
    claims = readme.partition("<!-- demo:end -->")[2].partition("\n## ")[0]
    sources = section("Speed") + (ROOT / "docs" / "results.md").read_text()
    figures = re.findall(r"\d+\.\d+", claims)
    assert len(figures) >= 4
    assert [figure for figure in figures if figure not in sources] == []


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


def test_the_figures_of_the_readmes_claims_are_generated_ones() -> None:
    readme = (ROOT / "README.md").read_text()
    claims = readme.partition("- **Acts fast:**")[2].partition("## Install")[0]
    guided = claims.partition("- **Guided:**")[2].partition("- **GPU:**")[0]
    results = (ROOT / "docs" / "results.md").read_text()
    mine, clone, count = re.findall(
        r"[\d.]+(?= on average)|[\d.]+(?=,? over)|\d+(?= tasks)", results
    )[:3]
    said = re.findall(r"\*\*([\d.]+)\*\*|scores ([\d.]+),|on (\d+) tasks", guided)
    assert ["".join(one) for one in said] == [mine, clone, count]
    ((above, below),) = re.findall(r"apart.*above (\d+), below (\d+), of \d+ \|$", results, re.M)
    words = ("none", "one", "two", "three", "four", "five", "six", "seven")
    assert f"clearly above its clone on {words[int(above)]}," in guided and below == "0"
    table = readme.partition("<!-- benchmarks:begin -->")[2]
    for figure in re.findall(r"([\d.]+)(?= us| ms|x as long)", claims):
        assert figure in table, figure


def test_the_figures_of_pointmaze_medium_are_the_committed_ones() -> None:
    guidance = (ROOT / "docs" / "guidance.md").read_text()
    for seed, run in json.loads((ROOT / "docs" / "ogbench.json").read_text())["seeds"].items():
        figures = " / ".join(str(won) for won in run["success_of_50"].values())
        assert f"pieces of 25 rows, seed {seed}** | 5,000" in guidance
        assert f"| {figures} of 50 |" in guidance


def test_the_figures_of_cube_single_are_the_committed_ones() -> None:
    guidance = (ROOT / "docs" / "guidance.md").read_text()
    for seed, run in json.loads((ROOT / "docs" / "ogbench_cube.json").read_text())["seeds"].items():
        ((steps, won),) = run["success_of_50"].items()
        row = f"| **the critic's, seed {seed}** | 80,000 | {int(steps):,} | {seed} | {won} of 50 |"
        assert row in guidance


def test_the_figures_of_the_critics_weights_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "guidance.md").read_text()
    table = page[page.index("## The critic's weights in a longer run") :]
    found = json.loads((ROOT / "docs" / "critic_weights.json").read_text())
    for task, scores in found["normalised_return"].items():
        shown = [f"{score:.1f}" for step, score in scores.items() if int(step) >= 75_000]
        assert f"| {task} | {' | '.join(shown)} |" in table
    for task, runs in found["softer_weights"]["runs"].items():
        (row,) = (line for line in table.splitlines() if line.startswith(f"| {task}, from update"))
        for run in runs:
            assert f"| {run['normalised_return']:.1f} |" in row
    for run, rows in found["critic_truth"]["runs"].items():
        shown = [f"{critic:.2f}, {perfect:.2f}" for critic, _, perfect in rows.values()]
        assert f"| {run} updates | {' | '.join(shown)} |" in table


def test_the_figures_of_weight_decay_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "guidance.md").read_text()
    found = json.loads((ROOT / "docs" / "weight_decay.json").read_text())
    for decay, curves in found["score"].items():
        for task, scores in curves.items():
            shown = [f"{score:.1f}" for score in scores.values()]
            shown = [""] * 4 + shown if len(shown) == 1 else shown
            assert f"| {task} | {decay} | {' | '.join(shown)}".replace("|  ", "| ") in page


def test_the_figures_of_episodes_held_out_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "guidance.md").read_text()
    found = json.loads((ROOT / "docs" / "held_out_error.json").read_text())
    kinds = {"score": ("score", 1), "trained_error": ("error, trained on", 3)}
    kinds["held_out_error"] = ("error, held out", 3)
    for key, (words, digits) in kinds.items():
        for task, curve in found[key].items():
            shown = [curve.get(str(step), "") for step in (5_000, *range(20_000, 100_001, 20_000))]
            cells = [f"{value:.{digits}f}" if value != "" else "" for value in shown]
            line = f"| {task} | {words} | {' | '.join(cells)} |"
            assert line.replace("|  |", "| |") in page


def test_the_figures_of_the_long_run_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "guidance.md").read_text()
    found = json.loads((ROOT / "docs" / "long_run.json").read_text())
    (scores,) = found["normalised_return"].values()
    assert f"scores {', '.join(f'{score:.1f}' for score in scores.values())} after each" in page


def test_the_figures_of_the_larger_batch_are_the_committed_ones() -> None:
    page = " ".join((ROOT / "docs" / "guidance.md").read_text().split())
    found = json.loads((ROOT / "docs" / "larger_batch.json").read_text())
    (scores,) = found["normalised_return"].values()
    *first, last = (f"{score:.1f}" for score in scores.values())
    assert f"`--batch-size 1024` scores {', '.join(first)} and {last} after each 20,000" in page


def test_the_figures_of_the_papers_own_settings_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "guidance.md").read_text()
    found = json.loads((ROOT / "docs" / "paper_run.json").read_text())
    kinds = {"normalised_return": ("score", 1), "weight_ess": ("`weight_ess`", 3)}
    kinds |= {"weight_correlation": ("`weight_correlation`", 2)}
    for key, (words, digits) in kinds.items():
        (curve,) = found[key].values()
        shown = [f"{abs(round(value, digits)):.{digits}f}" for value in curve.values()]
        assert f"| {words} | {' | '.join(shown)} |" in page
    for score in found["acting_otherwise"]["normalised_return"].values():
        assert f"{score:.1f}" in page


def test_the_figures_of_both_widths_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "guidance.md").read_text()
    table = page[page.index("### Few data") : page.index("### Weight decay")]
    scores: dict[tuple[str, int], list[float]] = {}
    for file in ("results.json", "other_tasks/results.json"):
        for run in json.loads((ROOT / "docs" / file).read_text())["runs"]:
            if (run["label"], run["steps"]) == ("gtp", 100_000):
                scores.setdefault((run["task"], run["width"]), []).extend(run["scores"])
    rows = [line.replace("*", "").strip("| ").split(" | ") for line in table.splitlines()]
    rows = [row for row in rows if row[0].split(",")[0] in {task for task, _ in scores}]
    assert len(rows) == 10
    for task, _, *cells in rows:
        found = [scores[task.split(",")[0], width] for width in (128, 256)]
        assert cells == [f"{sum(one) / len(one):.1f} ({len(one)})" for one in found]


def test_the_citation_names_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == gtp_fast.__version__


def test_the_form_for_bugs_asks_for_the_machine() -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text())
    asked = {field["id"]: field["attributes"]["label"] for field in form["body"]}
    assert "python -m gtp_fast" in asked["machine"]
