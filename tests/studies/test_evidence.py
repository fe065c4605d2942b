"""The page of the evidence: its figures worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evidence_cells import CAMPAIGN, HALF, MAZES, NONE, ONE, OPTIONS, cell, finish, line, two_mazes
from fake_runs import SETTINGS, config

from benchmarks import evidence, evidence_guidance, evidence_page, evidence_runs, evidence_tables
from gtp_fast import cli
from gtp_fast.runs import Run
from gtp_fast.training import sized


@pytest.fixture
def found(tmp_path: Path) -> Path:
    return two_mazes(tmp_path)


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
    assert "no task has one of every label" in page and line(page, "**average**")[2:] == ["-"] * 3
    # One seed of the second task leaves no interval.
    assert line(page, "**average, all 2 tasks**")[2:] == ["87.5", "-", "-"]


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
    ours, clone = line(page, "**average, all 3 tasks**")[2:]
    assert ours.startswith("75.0 [") and clone == "-"
    assert line(page, "**IQM, all 3 tasks**")[3] == "-"


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


@pytest.mark.parametrize(
    ("ours", "clone", "side"),
    [([4, 5, 6], [1, 2, 3], 1), ([1, 2, 3], [4, 5, 6], -1), ([3, 4, 5], [1, 2, 3], 0),
     ([9, 9], [1, 2, 3], 0), ([9, 9, 9], [1, 2], 0), ([0, 0, 0], [0, 0, 0], 0)],
)  # fmt: skip
def test_intervals_are_apart_where_they_do_not_touch(
    ours: list[float], clone: list[float], side: int
) -> None:
    assert evidence_guidance.apart(ours, clone) == side


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


def test_hours_are_a_mean_over_seeds(found: Path) -> None:
    table = evidence_tables.rows(evidence_runs.collect(found), CAMPAIGN)
    one, other, _ = (record for runs in table[0].runs.values() for record in runs)
    one["hours_per_seed"], one["seeds"] = 1.0, [4, 5, 6]
    other["hours_per_seed"] = 2.0
    # The third run has 0.28 of an hour.
    text = evidence_tables.sum_table(table, MAZES)
    assert line(text, "gtp")[-1] == f"{(3 * 1.0 + 2.0 + 1000 / 3600) / 5:.2f}"


def test_labels_whose_updates_draw_more_rows_are_named(tmp_path: Path) -> None:
    for label, rows in (("gtp", 256), ("gtp-clone", 256), ("bc", 1024)):
        settings = SETTINGS | {"batch_size": rows, "eta": [float(label == "gtp")]}
        cell(tmp_path, MAZES[0], label, 0, ONE, agent_settings=settings)
    records = evidence_runs.collect(tmp_path)
    assert " An update draws 256 rows, of bc 1,024. `gtp-clone` is" in evidence_page.page(
        records, CAMPAIGN
    )
    alike = [record for record in records if record["label"] != "bc"]
    assert "An update draws" not in evidence_page.page(alike, CAMPAIGN)


def test_a_label_of_few_tasks_takes_no_average_from_the_others(found: Path) -> None:
    cell(found, MAZES[1], "gtp-clone", 0, ONE)
    cell(found, "pointmaze-medium", "gtp", 0, ONE)
    cell(found, "pointmaze-medium", "gtp-clone", 0, ONE)
    table = evidence_tables.rows(evidence_runs.collect(found), CAMPAIGN)
    order = evidence_tables.order_of(table, CAMPAIGN)
    assert [len(row.runs) for row in table if row.main] == [3, 3, 1]
    assert len(evidence_tables.common_tasks(table, order)) == 3
