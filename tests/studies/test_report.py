"""The report: figures worked out by hand, runs joined over their seeds, datasets named."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_runs import SETTINGS, scored_run

from gtp_fast import cli, report, tasks
from gtp_fast.errors import UserError
from gtp_fast.studies import groups, page, tables
from gtp_fast.studies.protocol import Protocol, Study


def cells(text: str, row: int) -> list[str]:
    """Return the cells of a row below the table's head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [cell.strip() for cell in lines[2 + row].strip("|").split("|")]


def test_figures_of_last_and_best(tmp_path: Path) -> None:
    returns = {50: [[1, 1, 1], [1, 1, 0]], 100: [[1, 1, 0], [0, 1, 0]]}
    run = scored_run(tmp_path / "a", returns)
    text = tables.run_table(groups.collect([str(run)]))
    last, best = cells(text, 0), cells(text, 1)
    assert last[:9] == ["pointmaze-umaze", "some/set-v0", "gtp", "100", "last", "2", "3", "3", "1"]
    # Of two seeds with 66.7 and 33.3 both mean and IQM are 50, and resampling reaches both ends.
    assert last[9:] == ["50.0 [33.3, 66.7]", "50.0 [33.3, 66.7]", "0.500"]
    assert best[3:5] == ["50", "best"]
    assert best[9:] == ["83.3 [66.7, 100.0]", "83.3 [66.7, 100.0]", "0.833"]


def test_a_row_says_how_many_episodes_it_is_of(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "a", {50: [[1, 0, 1]] * 2, 80: [[1.0]] * 2}, seeds=[4, 7])
    text = tables.run_table(groups.collect([str(run)]))
    # The run has three an evaluation; the one at 80 had less time.
    assert [cells(text, row)[6] for row in (0, 1)] == ["1", "3"]


def test_scores_are_normalised_by_the_tasks_reference(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "a", {10: [[3234.3, -20.272305]]}, task="hopper-medium", seeds=[0])
    assert cells(tables.run_table(groups.collect([str(run)])), 0)[9] == "50.0"


def test_runs_that_differ_in_their_seeds_only_become_one_row(tmp_path: Path) -> None:
    paths = [
        str(scored_run(tmp_path / str(seed), {100: [[float(seed == 1)]]}, seeds=[seed]))
        for seed in (0, 1, 2)
    ]
    (group,) = groups.collect(paths)
    assert group.seeds == {0, 1, 2}
    row = cells(tables.run_table([group]), 0)
    assert row[5] == "3"
    assert row[9].startswith("33.3 [")


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "other/set-v0"},
        {"agent_settings": SETTINGS | {"k": 2}},
        {"steps": 7},
        {"seeds": [4]},
    ],
)
def test_other_runs_keep_rows_of_their_own(tmp_path: Path, changes: dict[str, object]) -> None:
    first = scored_run(tmp_path / "a", {100: [[1.0]]}, seeds=[4])
    other = scored_run(tmp_path / "b", {100: [[1.0]]}, **({"seeds": [5]} | changes))
    assert len(groups.collect([str(first), str(other)])) == 2


def test_labels_show_the_settings_that_differ(tmp_path: Path) -> None:
    clone = scored_run(
        tmp_path / "a", {9: [[0.0], [0.0]]}, agent_settings=SETTINGS | {"eta": [0.0]}
    )
    guided = scored_run(tmp_path / "b", {9: [[1.0], [1.0]]})
    found = groups.collect([str(clone), str(guided)])
    assert groups.labels(found) == ["gtp (eta=0)", "gtp (eta=1)"]
    assert [group.clones for group in found] == [True, False]


@pytest.mark.parametrize(
    ("changes", "clones"),
    [
        ({}, True),
        ({"trajectory_eta": 3.0}, False),
        ({"advantage_start": 500}, False),
        ({"objective": "linear-q"}, False),
    ],
)
def test_a_run_that_nothing_guides_is_a_clone(
    tmp_path: Path, changes: dict[str, object], clones: bool
) -> None:
    unguided = SETTINGS | {"trajectory_eta": 0.0, "advantage_start": None}
    run = scored_run(tmp_path / "a", {9: [[0.0], [0.0]]}, agent_settings=unguided | changes)
    (group,) = groups.collect([str(run)])
    assert group.clones == clones


def test_a_run_from_before_a_setting_had_its_default(tmp_path: Path) -> None:
    young = SETTINGS | {"act_by": "map", "value_by": "samples", "lambda_flow": [1.0]}
    old = scored_run(tmp_path / "a", {9: [[0.0]]}, seeds=[0])
    same = scored_run(tmp_path / "b", {9: [[1.0]]}, seeds=[1], agent_settings=young)
    other = scored_run(
        tmp_path / "c", {9: [[1.0]]}, seeds=[2], agent_settings=young | {"act_by": "euler"}
    )
    found = groups.collect([str(old), str(same), str(other)])
    assert groups.labels(found) == ["gtp (act_by=map)", "gtp (act_by=euler)"]
    assert found[0].seeds == {0, 1}


def test_a_study_from_before_a_setting_goes_on(tmp_path: Path) -> None:
    study = Study(tmp_path / "agents.json", Protocol("hopper-medium", (0,)))
    facts = study.protocol.facts("gtp", {})
    kept = {name: value for name, value in facts["settings"].items() if name != "act_by"}
    study.note("gtp", run="a", protocol=facts | {"settings": kept})
    study.check("gtp", "gtp", {})
    with pytest.raises(UserError, match=r"another protocol \(settings differ\)"):
        study.check("gtp", "gtp", {"act_by": "euler"})


def test_several_tasks_get_a_row_together(tmp_path: Path) -> None:
    maze = scored_run(tmp_path / "a", {10: [[1.0], [0.0]]})
    hopper = scored_run(tmp_path / "b", {10: [[3234.3], [3234.3]]}, task="hopper-medium")
    row = cells(tables.run_table(groups.collect([str(maze), str(hopper)])), 4)
    assert row[0] == "all 2"
    # Scores 100, 0 and 100, 100: only the maze's two can change in the bootstrap.
    assert row[9] == "75.0 [50.0, 100.0]"


def test_the_row_over_tasks_gives_each_one_weight(tmp_path: Path) -> None:
    many = scored_run(tmp_path / "a", {10: [[1.0]] * 5}, seeds=[0, 1, 2, 3, 4])
    one = scored_run(tmp_path / "b", {10: [[-20.272305]]}, seeds=[0], task="hopper-medium")
    paths = [str(many), str(one)]
    # Scores 100 of five seeds and 0 of one, whose spread is unknown.
    assert cells(tables.run_table(groups.collect(paths)), 4)[9] == "50.0"
    page.write(paths, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "50.0" in text[text.index("Over 2 tasks") :].split("</tbody>")[0]


def test_the_row_over_tasks_leaves_out_those_without_references(tmp_path: Path) -> None:
    facts = tasks.find("hopper-medium").without_reference("Toy-v0").facts()
    runs = {
        "maze": scored_run(tmp_path / "a", {10: [[1.0], [0.0]]}),
        "hopper": scored_run(tmp_path / "b", {10: [[3234.3], [3234.3]]}, task="hopper-medium"),
        "raw": scored_run(tmp_path / "c", {10: [[1e6], [1e6]]}, task="raw", task_facts=facts | {
            "name": "raw"}),
    }  # fmt: skip
    text = tables.run_table(groups.collect(list(map(str, runs.values()))))
    assert cells(text, 6)[0] == "all 2" and cells(text, 6)[9] == "75.0 [50.0, 100.0]"
    assert "raw: of the success rate (%), for want of references. all: over the tasks with" in text
    # Of a single task with references there is nothing to average.
    text = tables.run_table(groups.collect([str(runs["maze"]), str(runs["raw"])]))
    assert "all " not in text.split("\n\n")[0] and "all: over" not in text


def test_a_task_with_two_units_names_the_row_without_references(tmp_path: Path) -> None:
    facts = tasks.find("hopper-medium").without_reference("Toy-v0").facts()
    preset = scored_run(tmp_path / "a", {10: [[1.0], [0.0]]}, task="hopper-medium")
    raw = scored_run(tmp_path / "b", {10: [[1.0], [0.0]]}, task="hopper-medium", task_facts=facts)
    (ours, theirs) = groups.labels(found := groups.collect([str(preset), str(raw)]))
    assert ours != theirs
    assert f"hopper-medium, {theirs}: of the success rate" in tables.run_table(found)


def test_a_step_that_only_some_seeds_reached_is_no_result(tmp_path: Path) -> None:
    first = scored_run(tmp_path / "a", {50: [[1.0]], 100: [[1.0]]}, seeds=[0])
    other = scored_run(tmp_path / "b", {50: [[0.0]]}, seeds=[1])
    (group,) = groups.collect([str(first), str(other)])
    assert group.steps() == [50]


def test_the_command_prints_the_table_and_writes_the_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    run = scored_run(tmp_path / "a", {10: [[1.0], [0.0]]})
    picture = tmp_path / "curve.svg"
    assert cli.run(report.main, [str(run), "--plot", str(picture)]) == 0
    assert "some/set-v0" in capsys.readouterr().out
    assert "<svg" in picture.read_text()


def test_runs_without_scores_and_odd_plots_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = scored_run(tmp_path / "a", {})
    assert cli.run(report.main, [str(run)]) == 2
    assert "has not been evaluated yet" in capsys.readouterr().err
    alone = scored_run(tmp_path / "alone", {}, evaluation={"environment": None, "reason": "-"})
    assert cli.run(report.main, [str(alone)]) == 2
    assert "`gtp_fast evaluate RUN --fqe` judges it by its data" in capsys.readouterr().err
    assert cli.run(report.main, []) == 2
    done = scored_run(tmp_path / "b", {10: [[1.0], [0.0]]})
    assert cli.run(report.main, [str(done), "--plot", str(tmp_path / "none" / "x.svg")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_unusual_ways_to_act_have_columns_of_their_own(tmp_path: Path) -> None:
    usual = scored_run(tmp_path / "a", {10: [[1.0], [0.0]]})
    assert "noise_scale" not in tables.run_table(groups.collect([str(usual)]))
    ways = {"noise_scale": 0.0, "num_candidates": 4, "candidate_rule": "mean", "act_by": "euler"}
    other = scored_run(tmp_path / "b", {10: [[1.0], [0.0]]}, agent_settings=SETTINGS | ways)
    text = tables.run_table(groups.collect([str(usual), str(other)]))
    head = [cell.strip() for cell in text.splitlines()[0].strip("|").split("|")]
    at = [head.index(name) for name in ways]
    assert [cells(text, 0)[i] for i in at] == ["1", "1", "-", "map"]
    assert [cells(text, 2)[i] for i in at] == ["0", "4", "mean", "euler"]


def test_runs_without_a_common_step_keep_rows_of_their_own(tmp_path: Path) -> None:
    first = scored_run(tmp_path / "a", {100: [[1.0]]}, seeds=[4])
    stopped = scored_run(tmp_path / "b", {60: [[0.0]]}, seeds=[5])
    found = groups.collect([str(first), str(stopped)])
    assert [cells(tables.run_table(found), row)[3] for row in (0, 2)] == ["100", "60"]
