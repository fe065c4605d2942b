"""The evidence: figures worked out by hand; cells found, missing and resumed; one tiny campaign."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_runs import SETTINGS, add_scores, config, make_run

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    evidence,
    evidence_guidance,
    evidence_page,
    evidence_plot,
    evidence_runs,
    evidence_tables,
)
from gtp_fast import cli, collect, runs, train  # noqa: E402
from gtp_fast.errors import UserError  # noqa: E402
from gtp_fast.runs import Run  # noqa: E402
from gtp_fast.training import sized  # noqa: E402

MAZES = ("pointmaze-umaze", "pointmaze-large")
CAMPAIGN = evidence_runs.Campaign(MAZES, ("gtp", "gtp-clone", "bc"), (0, 1), 100, 16)
OPTIONS = [
    "--tasks", *MAZES, "--labels", "gtp", "gtp-clone", "bc", "--seeds", "0", "1",
    "--steps", "100", "--width", "16",
]  # fmt: skip
ONE, HALF, NONE = [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]


def finish(run: Run, returns: dict[int, list[list[float]]], **changes: Any) -> Run:
    """Give a run its evaluations, step -> returns [S, N], and what a finished run holds."""
    settings = run.config()
    for step, figures in returns.items():
        add_scores(run, step, figures, settings["seeds"])
    facts = {"gtp_fast": "0.1.0", "git": "abcdef" * 6, "processor": "a processor", "gpu": None}
    (run.path / "environment.json").write_text(json.dumps(facts))
    run.write_summary(
        {
            "dataset": settings["dataset"],
            "official_dataset": False,
            "data": {"description": "Made by the test.", "transitions": 1234},
            "environment": "Env-v0",
            "updates_per_second": 0.1,
            "data_success_rate": 0.25,
            "diverged": {},
        }
        | changes
    )
    return run


def cell(root: Path, task: str, label: str, seed: int, last: list[float], **changes: Any) -> Run:
    """Make the finished run of a cell; it had no success half-way."""
    settings = SETTINGS | {"eta": [0.0 if label == "gtp-clone" else 1.0]}
    given = {
        "task": task, "seeds": [seed], "agent_settings": settings, "episodes": len(last),
        "agent": "gtp" if label == "gtp-clone" else label,
    } | changes  # fmt: skip
    run = Run(root / task / label / f"{seed}-{given.get('steps', 100)}")
    run.path.mkdir(parents=True)
    run.write_config(config(**given))
    half = given.get("steps", 100) // 2
    return finish(run, {half: [[0.0] * len(last)], 2 * half: [last]})


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """Two seeds of gtp and its clone on one maze; one seed of gtp and bc on the other."""
    umaze, large = MAZES
    for seed, (ours, clone) in enumerate([(ONE, HALF), (HALF, NONE)]):
        cell(tmp_path, umaze, "gtp", seed, ours)
        cell(tmp_path, umaze, "gtp-clone", seed, clone)
    cell(tmp_path, large, "gtp", 0, ONE)
    cell(tmp_path, large, "bc", 0, HALF)
    return tmp_path


def line(page: str, start: str) -> list[str]:
    """Return the cells of the first table line that starts so."""
    row = next(row for row in page.splitlines() if row.startswith(f"| {start} |"))
    return [word.strip() for word in row.strip("|").split("|")]


def test_the_tables_have_the_figures_of_the_runs(found: Path) -> None:
    page = evidence_page.page(evidence_runs.collect(found), CAMPAIGN)
    assert line(page, "task") == ["task", "data", "gtp", "gtp-clone", "bc"]
    # Resampling two seeds reaches both of them; one seed is resampled by its two episodes.
    umaze = ["25.0", "75.0 [50.0, 100.0] (2)", "25.0 [0.0, 50.0] (2)", "-"]
    assert line(page, "pointmaze-umaze")[1:] == umaze
    assert line(page, "pointmaze-large")[1:] == ["25.0", "100.0 [100.0, 100.0] (1)", "-",
                                                 "50.0 [0.0, 100.0] (1)"]  # fmt: skip
    # Of two runs each, three pairs are won and one is a tie.
    assert line(page, "gtp-clone") == ["gtp-clone", "100", "1", "2", "0.88", "0.28"]
    assert line(page, "gtp")[1:5] == ["100", "2", "3", "-"]
    assert line(page, "bc")[4] == "1.00"
    assert "scores 75.0 on average, without it (`gtp-clone`) 25.0, over 1 task that both" in page
    assert "no task has a run of every label" in page and line(page, "**average**")[2:] == ["-"] * 3


def test_seeds_with_settings_of_their_own_are_cells_of_their_own(tmp_path: Path) -> None:
    run = cell(tmp_path, MAZES[0], "gtp", 0, ONE)
    own = SETTINGS | {"eta": [0.0, 1.0]}
    run.write_config(config(seeds=[3, 5], agent_settings=own, episodes=2))
    run.evaluations.unlink()
    finish(run, {100: [ONE, NONE]}, diverged={"5": 7})
    ours, clone = evidence_runs.collect(tmp_path)
    assert [(r["label"], r["seeds"], r["scores"]) for r in (ours, clone)] == [
        ("gtp", [5], [0.0]), ("gtp-clone", [3], [100.0]),
    ]  # fmt: skip
    assert ours["curve"]["scores"] == [[0.0]] and clone["curve"]["scores"] == [[100.0]]
    assert (ours["diverged"], clone["diverged"]) == ({"5": 7}, {})
    # 100 updates at 0.1 a second are shared by two seeds.
    assert ours["hours_per_seed"] == clone["hours_per_seed"] == 0.1389


def test_averages_are_over_the_tasks_that_every_label_has(found: Path) -> None:
    cell(found, MAZES[1], "gtp", 1, NONE)
    for seed in (0, 1):
        cell(found, MAZES[1], "gtp-clone", seed, HALF)
        cell(found, "pointmaze-medium", "gtp", seed, ONE)
    (found / MAZES[1] / "bc" / "0-100" / "summary.json").unlink()
    page = evidence_page.page(evidence_runs.collect(found), CAMPAIGN)
    ours, clone = line(page, "**average**")[2:]
    assert ours == "62.5 [25.0, 100.0]" and clone.startswith("37.5 [")
    # Of 0, 50, 100, 100 the lowest and the highest are cut off.
    assert line(page, "**IQM**")[2].startswith("75.0 [")
    assert "(pointmaze-umaze, pointmaze-large)" in page


def test_runs_without_scores_or_without_a_rate_do_no_harm(found: Path) -> None:
    blind = cell(found, MAZES[1], "bc", 1, NONE)
    blind.evaluations.unlink()
    cell(found, MAZES[1], "gtp-clone", 1, HALF, steps=200)
    late = Run(found / MAZES[1] / "gtp-clone" / "1-200")
    late.write_summary(late.summary() | {"updates_per_second": None})
    records = evidence_runs.collect(found)
    assert [r["seeds"] for r in records if (r["task"], r["label"]) == (MAZES[1], "bc")] == [[0]]
    page = evidence_page.page(records, CAMPAIGN)
    assert any("gtp-clone" in one and one.rstrip(" |").endswith("-") for one in page.splitlines())


def test_guidance_is_compared_with_cloning_task_by_task(
    found: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell(found, MAZES[1], "gtp-clone", 0, NONE)
    cell(found, MAZES[0], "gtp", 2, HALF)
    cell(found, MAZES[0], "gtp-clone", 2, NONE)
    for seed, (ours, clone) in enumerate([(ONE, HALF), (ONE, NONE), (ONE, NONE)]):
        wide = {"agent_settings": SETTINGS | {"width": 32}}
        cell(found / "wide", MAZES[0], "gtp", seed, ours, **wide)
        wide["agent_settings"] |= {"eta": [0.0]}
        cell(found / "wide", MAZES[0], "gtp-clone", seed, clone, **wide)
    records = evidence_runs.collect(found)
    page = evidence_page.page(records, CAMPAIGN)
    table = page[page.index("## Guidance against cloning") :]
    assert line(table, "task") == ["task", "width 16, 100 updates", "width 32, 100 updates"]
    # At width 16 the intervals are [50, 100] and [0, 50] and touch; one seed is not enough.
    assert line(table, "pointmaze-umaze")[1:] == ["+50.0 (3, 3)", "+83.3, apart (3, 3)"]
    assert line(table, "pointmaze-large")[1:] == ["+100.0 (1, 1)", "-"]
    count = line(table, "**apart, of 3 seeds each**")[1:]
    assert count == ["above 0, below 0, of 1", "above 1, below 0, of 1"]
    # By default the network is as wide as the data are many: narrow in the second maze alone.
    for record in records:
        record["transitions"] = 1_000 if record["task"] == MAZES[0] else 10
    monkeypatch.setattr(sized, "width", lambda transitions: 32 if transitions > 100 else 16)
    page = evidence_page.page(records, CAMPAIGN)
    table = page[page.index("## Guidance against cloning") :]
    assert line(table, "task")[3] == "the default width, 100 updates"
    assert line(table, "pointmaze-umaze")[3] == "+83.3, apart (3, 3)"
    assert line(table, "pointmaze-large")[3] == "+100.0 (1, 1)"
    assert line(table, "**apart, of 3 seeds each**")[3] == "above 1, below 0, of 1"


def test_both_widths_of_a_compared_pair_are_drawn(
    found: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label, eta in (("gtp", 1.0), ("gtp-clone", 0.0)):
        wide = SETTINGS | {"width": 32, "eta": [eta]}
        cell(found / "wide", MAZES[0], label, 0, ONE, agent_settings=wide)
        cell(found, MAZES[0], label, 0, ONE, agent_settings=SETTINGS | {"eta": [eta]}, steps=300)
    drawn: list[str] = []
    draw = evidence_plot.draw
    monkeypatch.setattr(
        evidence_plot, "draw", lambda rows, *to: (drawn.extend(n for n, _ in rows), draw(rows, *to))
    )
    output = tmp_path_factory.mktemp("out")
    evidence_page.write(evidence_runs.collect(found), CAMPAIGN, output)
    assert drawn == ["gtp", "gtp-clone", "bc", "gtp, width 32", "gtp-clone, width 32"]
    assert (output / "results.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("ours", "clone", "side"),
    [([4, 5, 6], [1, 2, 3], 1), ([1, 2, 3], [4, 5, 6], -1), ([3, 4, 5], [1, 2, 3], 0),
     ([9, 9], [1, 2, 3], 0), ([9, 9, 9], [1, 2], 0), ([0, 0, 0], [0, 0, 0], 0)],
)  # fmt: skip
def test_intervals_are_apart_where_they_do_not_touch(
    ours: list[float], clone: list[float], side: int
) -> None:
    assert evidence_guidance.apart(ours, clone) == side


def test_missing_cells_are_named(found: Path) -> None:
    page = evidence_page.page(evidence_runs.collect(found), CAMPAIGN)
    assert "6 of 12 cells" in page
    assert "- pointmaze-umaze: seeds 0 1 of bc\n" in page
    assert "- pointmaze-large: seed 1 of gtp, bc; seeds 0 1 of gtp-clone" in page
    records = [
        record | {"task": task, "label": label, "seeds": [seed]}
        for seed, task, label in CAMPAIGN.cells()
        for record in evidence_runs.collect(found)[:1]
    ]
    assert "all 12 cells have been run" in evidence_page.page(records, CAMPAIGN)


def test_other_lengths_and_widths_have_columns_of_their_own(found: Path) -> None:
    cell(found, MAZES[0], "gtp", 0, NONE, steps=300_000)
    cell(found, MAZES[1], "gtp", 1, NONE, steps=300_000)
    wide = SETTINGS | {"width": 32}
    cell(found / "wide", MAZES[0], "gtp", 0, HALF, agent_settings=wide)
    page = evidence_page.page(evidence_runs.collect(found), CAMPAIGN)
    head = ["gtp", "gtp-clone", "bc", "gtp, width 32", "gtp, 300,000"]
    assert line(page, "task")[2:] == head
    assert line(page, "pointmaze-umaze")[2].startswith("75.0")
    assert line(page, "pointmaze-umaze")[6] == "0.0 [0.0, 0.0] (1)"
    assert "6 of 12 cells" in page


def test_locomotion_counts_normalised_returns(tmp_path: Path) -> None:
    cell(tmp_path, "hopper-medium", "gtp", 0, [3234.3, 1607.0138475])
    (record,) = evidence_runs.collect(tmp_path)
    assert record["scores"] == [75.0] and record["intervals"] == [[50.0, 100.0]]
    assert record["curve"]["steps"] == [50, 100] and record["measure"] == "normalised return"


def evaluated_again(run: Run, success: list[float], **changes: Any) -> None:
    """Write what gtp_fast.evaluate leaves beside a run."""
    (run.path / "evaluations").mkdir()
    record = {
        "act_by": "euler", "step": 100, "evaluation_seed": 0, "episodes": len(success),
        "noise_scale": 1.0, "num_candidates": 1, "k": SETTINGS["k"], "weights": "ema",
        "seeds": [0],
        "per_episode": {"return": [success], "success": [success]},
    } | changes  # fmt: skip
    (run.path / "evaluations" / "step_000000100-euler.json").write_text(json.dumps(record))


def test_an_older_run_counts_as_a_new_one_would_act(tmp_path: Path) -> None:
    run = cell(tmp_path, MAZES[0], "gtp", 0, NONE)
    evaluated_again(run, HALF)
    (record,) = evidence_runs.collect(tmp_path)
    assert record["scores"] == [50.0] and record["intervals"] == [[0.0, 100.0]]
    assert record["evaluated_again"] and record["settings"]["act_by"] == "euler"
    assert record["curve"]["scores"][-1] == [0.0]
    assert "1 of 1 runs are older" in evidence_page.page([record], CAMPAIGN)


@pytest.mark.parametrize(
    "changes",
    [
        {"act_by": "map"},
        {"step": 50},
        {"evaluation_seed": 1},
        {"episodes": 3},
        {"noise_scale": 0.5},
        {"num_candidates": 4},
        {"k": 10},
        {"weights": "online"},
        {"seeds": [1]},
        {"own_environment": False},
    ],
)
def test_another_evaluation_does_not_count(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = cell(tmp_path, MAZES[0], "gtp", 0, NONE)
    evaluated_again(run, HALF, **changes)
    (record,) = evidence_runs.collect(tmp_path)
    assert record["scores"] == [0.0] and not record["evaluated_again"]


def test_a_fitted_q_evaluation_is_none_of_episodes(tmp_path: Path) -> None:
    run = cell(tmp_path, MAZES[0], "gtp", 0, NONE)
    evaluated_again(run, HALF)
    (path,) = (run.path / "evaluations").iterdir()
    record = json.loads(path.read_text())
    del record["episodes"], record["per_episode"]
    # It comes first by its name.
    path.with_name("step_000000100-a-fqe.json").write_text(json.dumps(record | {"fqe_steps": 5}))
    assert evidence_runs.collect(tmp_path)[0]["scores"] == [50.0]


@pytest.mark.parametrize(("rule", "scores"), [("softmax", [50.0]), ("argmax", [0.0])])
def test_another_rule_among_candidates_does_not_count(
    tmp_path: Path, rule: str, scores: list[float]
) -> None:
    several = SETTINGS | {"num_candidates": 4, "candidate_rule": "softmax"}
    run = cell(tmp_path, MAZES[0], "gtp", 0, NONE, agent_settings=several)
    evaluated_again(run, HALF, num_candidates=4, candidate_rule=rule)
    assert evidence_runs.collect(tmp_path)[0]["scores"] == scores


def test_an_evaluation_from_before_the_choice_does_not_count(tmp_path: Path) -> None:
    run = cell(tmp_path, MAZES[0], "gtp", 0, NONE)
    evaluated_again(run, HALF)
    (path,) = (run.path / "evaluations").iterdir()
    record = json.loads(path.read_text())
    del record["act_by"], record["noise_scale"]
    path.write_text(json.dumps(record))
    assert evidence_runs.collect(tmp_path)[0]["scores"] == [0.0]


def test_a_run_that_acted_so_itself_or_is_a_rival_keeps_its_scores(tmp_path: Path) -> None:
    own = cell(tmp_path, MAZES[0], "gtp", 0, NONE, agent_settings=SETTINGS | {"act_by": "euler"})
    rival = cell(tmp_path, MAZES[0], "bc", 0, NONE)
    for run in (own, rival):
        evaluated_again(run, ONE)
    assert [record["scores"] for record in evidence_runs.collect(tmp_path)] == [[0.0], [0.0]]


def test_a_broken_evaluation_is_one_sentence(tmp_path: Path) -> None:
    run = cell(tmp_path, MAZES[0], "gtp", 0, NONE)
    evaluated_again(run, HALF, per_episode=None)
    with pytest.raises(UserError, match="is no evaluation: delete it"):
        evidence_runs.collect(tmp_path)


def test_the_same_runs_give_the_same_page(found: Path, tmp_path_factory: Any) -> None:
    out = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    for folder in out:
        assert cli.run(evidence.main, [*OPTIONS, "--write-only", "--runs", str(found),
                                       "--output", str(folder)]) == 0  # fmt: skip
    for name in ("results.md", "results.json", "results.png"):
        assert (out[0] / name).read_bytes() == (out[1] / name).read_bytes()
    whole = json.loads((out[0] / "results.json").read_text())
    assert len(whole["runs"]) == 6 and whole["campaign"]["steps"] == 100
    first = whole["runs"][0]
    assert first["git"].startswith("abcdef") and first["transitions"] == 1234
    # 100 updates at 0.1 a second are 1,000 s.
    assert first["hours_per_seed"] == pytest.approx(1000 / 3600, abs=1e-4)
    assert str(found) not in (out[0] / "results.json").read_text()


def test_what_a_reader_must_know_is_said(found: Path) -> None:
    page = evidence_page.page(evidence_runs.collect(found), CAMPAIGN)
    assert "no published score may stand beside" in page and "the seeds differ" not in page
    cell(found, MAZES[1], "gtp", 1, ONE, agent_settings=SETTINGS | {"k": 2}, dataset="b/set-v0")
    (run,) = (found / MAZES[0]).glob("gtp/0-100")
    summary = Run(run).summary() | {"diverged": {"0": 60}}
    Run(run).write_summary(summary)
    page = evidence_page.page(evidence_runs.collect(found), CAMPAIGN)
    assert "- pointmaze-large, gtp: the seeds differ in settings, dataset." in page
    assert "- pointmaze-umaze, gtp: seed 0 diverged at update 60" in page
    assert "**pointmaze-large** (of gtp): `b/set-v0`, made locally, 1,234 transitions" in page
    assert "evaluated in Env-v0, 2 episodes a seed" in page


def test_a_run_that_held_episodes_out_is_named(found: Path) -> None:
    cell(found, MAZES[1], "gtp", 1, ONE, hold_out=0.1, precision="bf16")
    records = evidence_runs.collect(found)
    page = evidence_page.page(records, CAMPAIGN)
    assert "- pointmaze-large, gtp: seed 1 held out 0.1 of the episodes and did not" in page
    assert "- pointmaze-large, gtp: the seeds differ in precision." in page
    assert [record.get("hold_out") for record in records].count(0.1) == 1


def test_the_same_seed_twice_is_refused(found: Path) -> None:
    cell(found / "again", MAZES[0], "gtp", 0, ONE)
    with pytest.raises(UserError, match=r"are both pointmaze-umaze, gtp, seed 0, .*move one"):
        evidence_runs.collect(found)


def test_curves_stand_where_every_seed_was_evaluated() -> None:
    one = {"seeds": [0, 1], "curve": {"steps": [10, 20, 30], "scores": [[1, 2], [3, 4], [5, 6]]}}
    other = {"seeds": [2], "curve": {"steps": [20, 30], "scores": [[7], [8]]}}
    steps, scores = evidence_plot.curve([one, other])
    assert steps == [20, 30] and scores.tolist() == [[3, 4, 7], [5, 6, 8]]


def test_a_curve_of_equal_seeds_evaluated_again_is_drawn(tmp_path: Path) -> None:
    # The mean of three times 0.1 lies above 0.1.
    records = [
        {"curve": {"steps": [50], "scores": [[0.1]]}, "scores": [0.1], "evaluated_again": True,
         "measure": "success rate in percent", "data_level": None}
        for _ in range(3)
    ]  # fmt: skip
    evidence_plot.draw([("gtp", {MAZES[0]: records})], MAZES, tmp_path / "results.png")
    assert (tmp_path / "results.png").stat().st_size > 0


def test_single_scores_stand_side_by_side_and_curves_over_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(steps: list[int], scores: list[float]) -> dict[str, Any]:
        curve = {"steps": steps, "scores": [[score] for score in scores]}
        about = {"measure": "success rate in percent", "data_level": None}
        return {"curve": curve, "scores": scores[-1:]} | about

    axes: list[Any] = []
    finish = evidence_plot._finish
    monkeypatch.setattr(
        evidence_plot, "_finish", lambda axis, *more: (axes.append(axis), finish(axis, *more))
    )
    ends, curve = [record([50], [10.0]), record([50], [30.0])], [record([25, 50], [0.0, 40.0])]
    rows = [("gtp", {MAZES[0]: ends}), ("bc", {MAZES[0]: ends[:1]}), ("iql", {MAZES[0]: curve})]
    rows += [("fql", {MAZES[1]: curve})]
    evidence_plot.draw(rows, MAZES, tmp_path / "results.png")
    single, curves = axes
    places = [container.lines[0].get_xydata().tolist() for container in single.containers]
    assert places == [[[0.0, 20.0]], [[1.0, 10.0]], [[2.0, 40.0]]]
    bar = single.containers[0].lines[2][0].get_segments()[0]
    assert bar[:, 1].tolist() == [10.0, 30.0]
    assert curves.lines[0].get_xydata().tolist() == [[25.0, 0.0], [50.0, 40.0]]


def test_every_width_is_drawn_in_its_own_way() -> None:
    names = ["gtp", "gtp-clone", "gtp, width 256", "gtp, width 512", "gtp, 300,000", "other"]
    looks = evidence_plot._looks(names)
    assert len({looks[name] for name in names}) == len(names)


def test_hours_are_a_mean_over_seeds(found: Path) -> None:
    table = evidence_tables.rows(evidence_runs.collect(found), CAMPAIGN)
    one, other, _ = (record for runs in table[0].runs.values() for record in runs)
    one["hours_per_seed"], one["seeds"] = 1.0, [4, 5, 6]
    other["hours_per_seed"] = 2.0
    # The third run has 0.28 of an hour.
    text = evidence_tables.sum_table(table, MAZES)
    assert line(text, "gtp")[-1] == f"{(3 * 1.0 + 2.0 + 1000 / 3600) / 5:.2f}"


def test_seeds_without_their_run_are_kept_of_a_record_of_several(tmp_path: Path) -> None:
    run = cell(tmp_path / "old", MAZES[0], "gtp", 0, ONE)
    run.write_config(config(seeds=[3, 5, 7], agent_settings=SETTINGS, episodes=2))
    run.evaluations.unlink()
    finish(run, {50: [NONE, HALF, NONE], 100: [ONE, HALF, NONE]}, diverged={"5": 7, "7": 8})
    evidence_page.write(evidence_runs.collect(tmp_path / "old"), CAMPAIGN, tmp_path)
    cell(tmp_path / "new", MAZES[0], "gtp", 5, NONE)
    kept, new = evidence_runs.collect(tmp_path / "new", tmp_path / "results.json")
    assert (new["seeds"], new["scores"]) == ([5], [0.0])
    assert (kept["seeds"], kept["scores"]) == ([3, 7], [100.0, 0.0])
    assert kept["curve"] == {"steps": [50, 100], "scores": [[0.0, 0.0], [100.0, 0.0]]}
    assert kept["diverged"] == {"7": 8} and len(kept["intervals"]) == 2


def test_earlier_results_are_kept_where_their_runs_are_gone(found: Path, tmp_path: Path) -> None:
    written = tmp_path / "out"
    evidence_page.write(evidence_runs.collect(found), CAMPAIGN, written)
    gone = next(found.rglob("summary.json")).parent
    shutil.rmtree(gone)
    kept = evidence_runs.collect(found, written / "results.json")
    assert len(kept) == len(evidence_runs.collect(found)) + 1
    assert evidence_page.page(kept, CAMPAIGN) == (written / "results.md").read_text().rstrip("\n")
    for broken in ("{", "[]"):
        (written / "results.json").write_text(broken)
        with pytest.raises(UserError, match="restore it"):
            evidence_runs.collect(found, written / "results.json")


def test_done_cells_are_skipped_stopped_ones_resumed(
    found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = make_run(
        found / MAZES[0] / "bc" / "seed0-100" / "run",
        task=MAZES[0], agent="bc", seeds=[0], agent_settings={"width": 16, "depth": 2},
    )  # fmt: skip
    calls: list[list[str]] = []

    def trained(argv: Sequence[str]) -> int:
        calls.append(list(argv))
        if len(calls) == 3:
            raise UserError("it went wrong")
        return 130 if len(calls) == 5 else 0

    monkeypatch.setattr(train, "main", trained)
    given = [*OPTIONS, "--runs", str(found), "--output", str(tmp_path / "out")]
    assert cli.run(evidence.main, given) == 130
    assert calls[0] == ["--resume", str(stopped)]
    cells = [(c[c.index("--seeds") + 1], c[c.index("--task") + 1], "--eta" in c) for c in calls[1:]]
    umaze, large = MAZES
    assert cells == [
        ("0", large, True),
        ("1", umaze, False),
        ("1", large, False),
        ("1", large, True),
    ]
    assert calls[1][calls[1].index("--output") + 1].endswith("pointmaze-large/gtp-clone/seed0-100")
    calls.clear()
    assert cli.run(evidence.main, [*given, "--hours", "0"]) == 0 and not calls
    assert cli.run(evidence.main, [*given, "--write-only"]) == 0 and not calls


def test_commands_of_cells(tmp_path: Path) -> None:
    options = evidence.Options()
    words = evidence.command(options, 2, "hopper-medium-expert", "iql")
    assert " ".join(words) == (
        "--agent iql --task hopper-medium-expert --seeds 2 --steps 100000 --width 128 "
        "--episodes 20 --evaluate-every 20000"
    )
    words = evidence.command(options, 0, "antmaze-umaze", "gtp-clone")
    assert " ".join(words[-4:]) == "--eta 0 --collect 200000" and "100" in words
    placed = evidence.command(evidence.Options(maze_data=tmp_path), 0, "antmaze-umaze", "gtp")
    assert placed[-2:] == ["--dataset", str(tmp_path / "local/antmaze/umaze-v0")]


def test_wrong_options_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--runs", str(tmp_path), "--output", str(tmp_path / "docs")]
    for given, said in (
        (["--labels", "gtp-clon"], "Unknown agent 'gtp-clon'"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--write-only", *folders], "no finished run below"),
    ):
        assert cli.run(evidence.main, given) == 2
        assert said in capsys.readouterr().err


def test_without_matplotlib_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(train, "main", lambda argv: pytest.fail("a cell was trained"))
    assert cli.run(evidence.main, [*OPTIONS, "--output", str(tmp_path)]) == 2
    assert "Figures need matplotlib" in capsys.readouterr().err


def test_a_tiny_campaign_runs_from_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium_robotics")
    data = tmp_path / "data"
    collect.collect("pointmaze-demo", 1500, output=data, progress=False)
    given = [
        "--tasks", "pointmaze-demo", "--labels", "gtp", "gtp-clone", "--seeds", "0", "--steps", "5",
        "--width", "8", "--episodes", "1", "--runs", str(tmp_path / "runs"), "--output",
        str(tmp_path / "out"), "--maze-data", str(data),
    ]  # fmt: skip
    assert cli.run(evidence.main, given) == 0
    made = sorted((tmp_path / "runs").rglob("summary.json"))
    assert [path.parts[-4:-2] for path in made] == [("gtp", "seed0-5"), ("gtp-clone", "seed0-5")]
    for path in made:
        settings = runs.open_run(path.parent).config()["agent_settings"]
        assert settings["width"] == 8
        assert (settings["eta"] == [0.0]) == ("gtp-clone" in path.parts)
    page = (tmp_path / "out" / "results.md").read_text()
    assert line(page, "task")[2:] == ["gtp", "gtp-clone"] and "all 2 cells have been run" in page
    assert str(tmp_path) not in page
    assert str(tmp_path) not in (tmp_path / "out" / "results.json").read_text()
    before = [path.stat().st_mtime_ns for path in made]
    assert cli.run(evidence.main, given) == 0
    assert [
        p.stat().st_mtime_ns for p in sorted((tmp_path / "runs").rglob("summary.json"))
    ] == before


def test_a_label_of_few_tasks_takes_no_average_from_the_others(found: Path) -> None:
    cell(found, MAZES[1], "gtp-clone", 0, ONE)
    cell(found, "pointmaze-medium", "gtp", 0, ONE)
    cell(found, "pointmaze-medium", "gtp-clone", 0, ONE)
    table = evidence_tables.rows(evidence_runs.collect(found), CAMPAIGN)
    order = evidence_tables.order_of(table, CAMPAIGN)
    assert [len(row.runs) for row in table if row.main] == [3, 3, 1]
    assert len(evidence_tables.common_tasks(table, order)) == 3
