"""Figures that pages quote are those of the committed files."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def every_20000(scores: dict[str, float]) -> str:
    """Return the words in which a page tells the scores of a run."""
    *first, last = (f"{score:.1f}" for score in scores.values())
    return f"scores {', '.join(first)} and {last} after each 20,000"


def test_the_figures_of_the_claims_stand_in_generated_text() -> None:
    readme = (ROOT / "README.md").read_text()
    claims = readme.partition("<!-- demo:end -->")[2].partition("\n## ")[0]
    speed = readme.partition("\n## Speed\n")[2].partition("\n## ")[0]
    sources = speed + (ROOT / "docs" / "results.md").read_text()
    figures = re.findall(r"\d+\.\d+", claims)
    assert len(figures) >= 4
    assert [figure for figure in figures if figure not in sources] == []


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
    page = (ROOT / "docs" / "critic.md").read_text()
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


def test_the_figures_of_critics_on_a_replay_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "critic.md").read_text()
    found = json.loads((ROOT / "docs" / "critic_replay.json").read_text())
    assert f"| critic of that run, {found['states']:,} states |" in page
    for run in found["runs"]:
        agent = re.findall(r"--agent (\S+)", run["command"])[0]
        (seed,) = run["seeds"]
        name = f"{agent}, {run['task']}" + (f", seed {seed}" if seed else "")
        shown = [f"{row[0]:.2f}, {row[2]:.2f}" for row in run["correlations"].values()]
        assert f"| {name} | {' | '.join(shown)} |" in page
        if agent == "gtp":
            assert "--advantage-start 20000" in run["command"]
            assert every_20000(run["score"]) in " ".join(page.split())


def test_the_figures_of_the_ablation_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "ablation.md").read_text()
    first = json.loads((ROOT / "docs" / "ablation.json").read_text())["rows"]
    more = json.loads((ROOT / "docs" / "ablation_seeds.json").read_text())["runs"]
    scores = {row: found["last"]["score"] for row, found in first.items()}
    for run in more:
        found = re.search(r"--objective (\S+)", run["command"])
        scores[found[1] if found else "gtp"] += run["last_score_of_each_seed"].values()
    assert [len(seeds) for seeds in scores.values()] == [3, 3, 3, 1]
    for row, seeds in scores.items():
        assert re.search(rf"^\| {row} \|.*\| {', '.join(f'{x:.1f}' for x in seeds)} \|", page, re.M)
    means = [f"{sum(seeds) / 3:.1f}" for seeds in list(scores.values())[:3]]
    assert f"means are {means[0]}, {means[1]} and {means[2]}" in page


def test_the_figures_of_a_critic_on_the_way_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "critic.md").read_text()
    found = json.loads((ROOT / "docs" / "critic_on_the_way.json").read_text())
    for run in found["runs"]:
        score = run["score"][str(run["update"])]
        shown = [f"{row[0]:.2f}, {row[2]:.2f}" for row in run["correlations"].values()]
        assert f"| {run['update']:,} | {score:.1f} | {' | '.join(shown)} |" in page
        assert run["seeds"] == [2] and "--keep-checkpoints all" in run["command"]
    assert len(found["runs"]) == 5


def test_the_figures_of_weight_decay_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "limits.md").read_text()
    found = json.loads((ROOT / "docs" / "weight_decay.json").read_text())
    for decay, curves in found["score"].items():
        for task, scores in curves.items():
            shown = [f"{score:.1f}" for score in scores.values()]
            shown = [""] * 4 + shown if len(shown) == 1 else shown
            assert f"| {task} | {decay} | {' | '.join(shown)}".replace("|  ", "| ") in page


def test_the_figures_of_episodes_held_out_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "limits.md").read_text()
    found = json.loads((ROOT / "docs" / "held_out_error.json").read_text())
    kinds = {"score": ("score", 1), "trained_error": ("error, trained on", 3)}
    kinds["held_out_error"] = ("error, held out", 3)
    for key, (words, digits) in kinds.items():
        for task, curve in found[key].items():
            steps = (5_000, 10_000, *range(20_000, 100_001, 20_000))
            cells = [f"{curve[str(step)]:.{digits}f}" for step in steps]
            assert f"| {task} | {words} | {' | '.join(cells)} |" in page


def test_the_figures_of_the_long_run_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "guidance.md").read_text()
    found = json.loads((ROOT / "docs" / "long_run.json").read_text())
    (scores,) = found["normalised_return"].values()
    assert f"scores {', '.join(f'{score:.1f}' for score in scores.values())} after each" in page


def test_the_figures_of_what_makes_sscql_win_are_the_committed_ones() -> None:
    page = " ".join((ROOT / "docs" / "limits.md").read_text().split())
    found = json.loads((ROOT / "docs" / "sscql_walker.json").read_text())["runs"]
    batch, deep, other_deep, slow, clone, without, *sscql = found
    assert "--batch-size 1024" in batch["command"] and "--agent gtp" in batch["command"]
    assert "--alpha-flow 100.0 --alpha-completion 100.0" in without["command"]
    assert every_20000(batch["score"]) in page and every_20000(without["score"]) in page
    ends = [f"{run['score']['100000']:.1f}" for run in (deep, other_deep, slow, clone)]
    assert f"`--depth 4` {ends[0]} and {ends[1]} at the end" in page
    assert f"`--ema-rate 5e-4` {ends[2]} (seed 1)" in page
    assert f"(`--agent bc`) {ends[3]} (seed 1)" in page
    for run in sscql:
        *way, end = (f"{score:.1f}" for score in run["score"].values())
        assert "--agent sscql" in run["command"] and "--alpha" not in run["command"]
        assert ", ".join(way) in page and re.search(rf"it has [^(]*\b{end}\b", page)
        assert run["shortest_last_episode"] == 1000
    assert f"none of its last {20 * len(sscql)} episodes falls" in page


def test_the_figures_of_the_papers_own_settings_are_the_committed_ones() -> None:
    page = (ROOT / "docs" / "critic.md").read_text()
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
    page = (ROOT / "docs" / "limits.md").read_text()
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
