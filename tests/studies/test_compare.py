"""Comparing agents: the two tables, what is trained again and what is not, published scores."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest

from gtp_fast import ablate, agents, cli, collect, compare, tasks
from gtp_fast.agents import task_settings
from gtp_fast.environments import ogbench_names
from gtp_fast.studies import published, tables
from gtp_fast.training.divergence import AllDiverged
from gtp_fast.training.trainer import Trainer

SMALL = ["--seeds", "0", "1", "--steps", "3", "--width", "8", "--episodes", "1", "--rounds", "2"]
SMALL += ["--timed-updates", "2", "--agents", "gtp", "bc", "consistency-ac"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gymnasium_robotics")
    root = tmp_path_factory.mktemp("minari")
    return collect.collect("pointmaze-demo", 1500, output=root, progress=False).path


def call(dataset: Path, output: Path, *more: str) -> int:
    given = ["--task", "pointmaze-demo", "--dataset", str(dataset), "--output", str(output)]
    return cli.run(compare.main, [*given, *SMALL, *more])


def test_all_agents_are_trained_once_and_both_tables_written(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(dataset, tmp_path) == 0
    said = capsys.readouterr().out
    folder = tmp_path / "compare-pointmaze-demo"
    whole = json.loads((folder / "comparison.json").read_text())
    names = ["gtp", "bc", "consistency-ac"]
    assert [row["agent"] for row in whole["scores"]] == names == list(whole["costs"])
    for row in whole["scores"]:
        assert row["published"] is None and row["seeds"] == 2 and row["updates"] == 3
    for name in names:
        cost = whole["costs"][name]
        assert cost["seconds_per_update"] > 0 and cost["milliseconds_per_action"] > 0
        seconds = cost["seconds_per_update"] * 2e6 + cost["seconds_once"]
        assert cost["hours"] == pytest.approx(seconds / 3600)
    assert "made locally; not the published set" in said and "published |" not in said
    # The demo's own settings train a critic.
    assert whole["about"]["by_episodes"] is False and "trains no critic" not in said
    for table in ("scores", "costs"):
        assert (folder / f"{table}.md").read_text().strip() in said
        with open(folder / f"{table}.csv") as file:
            assert [row["agent"] for row in csv.DictReader(file)] == names
    runs = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert len(runs) == 3

    assert call(dataset, tmp_path, "--timed-updates", "0") == 0
    said = capsys.readouterr().out
    assert said.count("done before") == 3 and f"tables: {folder}/scores.md, and the same" in said
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == runs

    assert call(dataset, tmp_path, "--steps", "4") == 2
    assert "agents.json holds gtp under another protocol (steps differ)" in capsys.readouterr().err


def test_settings_given_to_all_agents_reach_each_and_are_told(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--learning-rate", "0.002", "--cosine-decay", "--timed-updates", "0"]
    assert call(dataset, tmp_path, *more) == 0
    said = capsys.readouterr().out
    assert "all agents have width 8, learning_rate 0.002, cosine_decay True." in said
    kept = json.loads((tmp_path / "compare-pointmaze-demo" / "agents.json").read_text())
    for name in ("gtp", "bc", "consistency-ac"):
        settings = kept[name]["protocol"]["settings"]
        assert settings["width"] == 8 and settings["cosine_decay"] is True
        assert settings["learning_rate"] == [0.002]
        assert settings.get("critic_learning_rate", [0.002]) == [0.002]


def settings(agent: str, options: compare.Options) -> Any:
    protocol = compare.protocol(options)
    return protocol.settings(agent, compare.changes_of(agent, protocol, options))[1]


@pytest.mark.parametrize("given", [None, 3])
def test_agents_act_with_their_authors_candidates_unless_told_otherwise(given: int | None) -> None:
    options = compare.Options(task="hopper-medium", num_candidates=given)
    for agent, own in (("diffusion-ql", 50), ("consistency-ac", 50)):
        assert settings(agent, options).num_candidates == (given or own)
    # The candidates of a mean are one action; without a critic nothing chooses among candidates.
    assert settings("iql", options).num_candidates == 1
    assert settings("gtp", options).num_candidates == 1
    assert not hasattr(settings("bc", options), "num_candidates")


def test_both_tables_name_the_candidates() -> None:
    rows = tables.score_rows({"diffusion-ql": result([10.0]) | {"num_candidates": 50}})
    cost = {"hours": 1.0, "seconds_per_update": 1e-3, "milliseconds_per_action": 2.0, "k": 5}
    cost |= {"num_candidates": 50, "batch_size": 256, "network": "3 x 256"}
    about = ABOUT | {"machine": "a machine", "rounds": 2, "timed_updates": 2}
    for table in (tables.score_table(rows, ABOUT), tables.cost_table({"x": cost}, about)):
        assert "num_candidates |" in table.splitlines()[0] and "| 50 " in table
        assert "num_candidates: actions drawn for each decision" in table


def test_unusual_ways_to_act_have_columns_of_their_own() -> None:
    plain = result([10.0]) | {"candidate_rule": None, "noise_scale": 1.0}
    odd = result([20.0]) | {"num_candidates": 4, "candidate_rule": "argmax", "noise_scale": 0.0}
    usual = tables.score_table(tables.score_rows({"gtp": plain}), ABOUT)
    assert "candidate_rule" not in usual and "noise_scale" not in usual
    table = tables.score_table(tables.score_rows({"gtp": plain, "iql": odd}), ABOUT)
    head, _, ours, theirs = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[:4]
    )
    assert head[-2:] == ["candidate_rule", "noise_scale"]
    assert ours[-2:] == ["-", "1"] and theirs[-2:] == ["argmax", "0"]


@pytest.mark.parametrize(("command", "option"), [(compare, "--agents"), (ablate, "--rows")])
def test_a_list_without_a_name_is_refused(
    command: Any, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--task", "hopper-medium-expert", "--output", str(tmp_path), option]
    assert cli.run(command.main, given) == 2
    assert f"{option} needs a name" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[]", '{"gtp": 3}', '{"gtp": {}}', '{"gtp": {"run": "x"}}'])
def test_a_file_that_is_no_studys_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "compare-hopper-medium-expert").mkdir()
    (tmp_path / "compare-hopper-medium-expert" / "agents.json").write_text(content)
    given = ["--task", "hopper-medium-expert", "--output", str(tmp_path), "--agents", "gtp"]
    assert cli.run(compare.main, given) == 2
    assert "agents.json cannot be read: delete it to start over" in capsys.readouterr().err


def test_an_unknown_agent_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(compare.main, ["--task", "hopper-medium", "--agents", "diffusion-q"]) == 2
    assert "did you mean diffusion-ql" in capsys.readouterr().err
    assert cli.run(compare.main, []) == 2


REFUSED = {
    "--seeds 0 0": "--seeds must name at least one seed and none twice.",
    "--steps 0": "--steps must be at least 1, not 0.",
    "--episodes 0": "--episodes must be at least 1, not 0.",
    "--width 0": "--width 0 is out of range: 1 to 4096.",
    "--rounds 0": "--rounds must be at least 1, not 0.",
    "--engine quick": "Unknown engine 'quick': choose one of",
}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        *REFUSED.items(),
        ("--timed-updates -4", "--timed-updates must be at least 0, not -4."),
        ("--collect 0", "--collect must be at least 1, not 0."),
        ("--num-candidates 0", "--num-candidates must be at least 1, not 0."),
        (
            "--num-candidates 2000 --agents gtp diffusion-ql",
            "--num-candidates 2000 is out of range",
        ),
        ("--learning-rate -1", "--learning-rate -1 is out of range"),
    ],
)
def test_options_out_of_range_are_refused_before_the_data_are_read(
    options: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--task", "hopper-medium", "--dataset", str(tmp_path / "no.npz"), "--agents", "bc"]
    given += ["--output", str(tmp_path / "out")]
    assert cli.run(compare.main, [*given, *options.split()]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"), [one for one in REFUSED.items() if "engine" not in one[0]]
)
def test_the_ablation_refuses_them_too(
    options: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--rows", "gtp", "--dataset", str(tmp_path / "no.npz"), *options.split()]
    assert cli.run(ablate.main, [*given, "--output", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def result(scores: list[float], shown: float | None = None) -> dict[str, object]:
    protocol = {"updates": 5, "k": 2, "num_candidates": 1, "episodes": 10}
    return {"scores": scores, "published": shown, **protocol}


ABOUT = {
    "environment": "Hopper-v5", "dataset": "hopper_medium-v2.hdf5", "transitions": 999_906,
    "official": True, "published_source": "a paper", "common": {},
}  # fmt: skip


def test_figures_of_the_table_of_scores() -> None:
    found = {"gtp": result([50.0, 70.0, 60.0, 80.0]), "iql": result([40.0, 60.0, 60.0, 50.0])}
    ours, theirs = tables.score_rows(found)
    assert ours["mean"] == 65.0 and ours["iqm"] == 65.0 and theirs["mean"] == 52.5
    assert ours["low"] < 65.0 < ours["high"]
    wins = [(x > y) + 0.5 * (x == y) for x in found["gtp"]["scores"] for y in [40, 60, 60, 50]]
    assert theirs["gtp_better"] == pytest.approx(sum(wins) / 16)
    assert ours["gtp_better"] is None
    single = tables.score_rows({"bc": result([10.0])})[0]
    assert math.isnan(single["low"])
    table = tables.score_table([single], ABOUT)
    assert "| bc    | 10.0" in table and "[" not in table.splitlines()[2]
    assert "Last checkpoint, 1 seed, " in table


def test_the_file_of_a_single_seed_is_strict_json(tmp_path: Path) -> None:
    tables.write(tmp_path, {"bc": result([10.0])}, {}, ABOUT)
    whole = (tmp_path / "comparison.json").read_text()
    (row,) = json.loads(whole, parse_constant=lambda name: pytest.fail(name))["scores"]
    assert (row["mean"], row["low"], row["iqm_high"]) == (10.0, None, None)


def test_published_scores_show_only_where_there_are_some() -> None:
    rows = tables.score_rows({"gtp": result([90.0], 90.3), "iql": result([60.0], 66.3)})
    assert "| published" in tables.score_table(rows, ABOUT)
    assert "66.3" in tables.score_table(rows, ABOUT)
    assert "a paper" in tables.score_table(rows, ABOUT)
    rows = tables.score_rows({"gtp": result([90.0])})
    assert "| published" not in tables.score_table(rows, ABOUT)


def test_tables_say_that_no_critic_guides_gtp_where_none_does() -> None:
    cost = {"hours": 1.0, "seconds_per_update": 1e-3, "milliseconds_per_action": 2.0, "k": 5}
    cost |= {"num_candidates": 1, "batch_size": 256, "network": "3 x 256"}
    about = ABOUT | {"machine": "a machine", "rounds": 2, "timed_updates": 2}
    said = "gtp is guided by whole episodes and trains no critic (docs/guidance.md)"
    plain = tables.score_rows({"gtp": result([90.0])})
    shown = tables.score_rows({"gtp": result([90.0], 90.3)})
    for by_episodes in (True, False):
        told = about | {"by_episodes": by_episodes}
        costs = tables.cost_table({"gtp": cost}, told)
        scores = tables.score_table(plain, told)
        assert [f"{said}." in table for table in (costs, scores)] == [by_episodes] * 2
        published = f"{said}; the published gtp has a critic's weights."
        assert (published in tables.score_table(shown, told)) == by_episodes
    assert said not in tables.cost_table({"bc": cost}, about | {"by_episodes": True})


_ANT = "Ant_maze_{}_noisy_multistart_True_multigoal_{}_sparse_fixed.hdf5"


@pytest.mark.parametrize(
    ("task", "file", "description", "transitions", "is_it"),
    [
        ("hopper-medium", "hopper_medium-v2.hdf5", "a D4RL file", 999_906, True),
        ("hopper-medium", "hopper_medium_replay-v2.hdf5", "a D4RL file", 401_598, False),
        ("hopper-medium-replay", "hopper_medium_replay-v2.hdf5", "a D4RL file", 401_598, True),
        ("hopper-medium", "hopper_medium-v2.hdf5", "a D4RL file", 20_000, False),
        ("hopper-medium", "hopper_medium-v2.hdf5.gz", "a D4RL file", 999_906, True),
        # Other versions have other data; the first one's file has no version in its name.
        ("hopper-medium", "hopper_medium.hdf5", "a D4RL file", 999_998, False),
        ("hopper-medium", "hopper_medium-v0.hdf5", "a D4RL file", 999_998, False),
        ("hopper-medium", "hopper_medium-v1.hdf5", "a D4RL file", 999_998, False),
        ("hopper-medium", "mine.hdf5", "a D4RL file", 999_906, False),
        ("hopper-medium", "mujoco/hopper/medium-v0", "a Minari dataset", 999_906, False),
        ("hopper-medium", "hopper_medium-v2.npz", "a flat file of transitions", 999_906, False),
        ("antmaze-umaze", _ANT.format("u-maze", "False"), "a D4RL file", 999_000, True),
        ("antmaze-umaze", _ANT.format("big-maze", "False"), "a D4RL file", 999_000, False),
        ("antmaze-large-diverse", _ANT.format("hardest-maze", "True"), "a D4RL file", 10**6, True),
        ("antmaze-large-play", _ANT.format("hardest-maze", "True"), "a D4RL file", 10**6, False),
        ("pointmaze-umaze", "maze2d-umaze.hdf5", "a D4RL file", 999_000, False),
    ],
)
def test_what_counts_as_the_published_set(
    task: str, file: str, description: str, transitions: int, is_it: bool
) -> None:
    assert published.is_published(tasks.find(task), file, description, transitions) == is_it


def test_published_columns_have_their_published_averages() -> None:
    gym = [name for name in tasks.PAPER_TASKS if not name.startswith("antmaze")]
    averages = {"bc": 51.9, "iql": 77.0, "diffusion-ql": 87.9, "consistency-ac": 85.1, "gtp": 89.0}
    for agent, average in averages.items():
        scores = [published.score(name, agent) for name in gym]
        assert sum(scores) / 9 == pytest.approx(average, abs=0.06), agent
    mazes = [name for name in tasks.PAPER_TASKS if name.startswith("antmaze")]
    for agent, average in {"bc": 16.7, "iql": 63.0, "diffusion-ql": 69.6, "gtp": 80.6}.items():
        scores = [published.score(name, agent) for name in mazes]
        assert sum(scores) / 6 == pytest.approx(average, abs=0.06), agent
    assert published.score("antmaze-large-play", "consistency-ac") is None
    assert published.score("hopper-medium", "qipo-ot") is None


# --- the table of settings -----------------------------------------------------------------------


def test_every_setting_names_its_source_and_exists() -> None:
    places = set(tasks.TASKS) | set(get_args(tasks.Family))
    assert set(task_settings.TABLE) == set(agents.REGISTRY)
    for agent, entries in task_settings.TABLE.items():
        fields = {field.name for field in dataclasses.fields(agents.find(agent).Config)}
        for entry in entries:
            known = entry.where in places or ogbench_names.is_name(entry.where)
            assert known and entry.source and entry.settings, entry
            assert set(entry.settings) <= fields | {"updates", "reward"}, (agent, entry)
        for name in tasks.TASKS:
            task, config = agents.defaults(agent, tasks.find(name))
            acting = agents.build(agent, config, 3, 2, (0,)).acting()
            assert acting.candidates == getattr(config, "num_candidates", 1)
            assert task.updates > 0


@pytest.mark.parametrize(
    ("agent", "task", "expected"),
    [
        ("diffusion-ql", "antmaze-large-play", {"eta": (4.5,), "max_q_backup": 10,
         "max_gradient_norm": 10.0, "learning_rate": (3e-4,), "num_candidates": 50}),
        ("diffusion-ql", "walker2d-medium", {"eta": (1.0,), "max_gradient_norm": 1.0,
         "num_candidates": 50, "candidate_rule": "softmax"}),
        ("diffusion-ql", "pointmaze-umaze", {"num_candidates": 50}),
        ("diffusion-ql", "pointmaze-demo", {"num_candidates": 1, "ema_start": 100}),
        ("diffusion-ql", "antmaze-large-navigate-singletask-v0", {"num_candidates": 50}),
        ("consistency-ac", "hopper-medium", {"num_candidates": 50}),
        ("consistency-ac", "antmaze-umaze", {"num_candidates": 50}),
        ("consistency-ac", "pointmaze-demo", {"num_candidates": 1, "ema_start": 100}),
        ("gtp", "antmaze-umaze", {"num_candidates": 1}),
        ("fql", "hopper-medium", {"num_candidates": 1}),
        ("consistency-ac", "walker2d-medium", {"k": 5, "scale_target": True}),
        ("consistency-ac", "antmaze-medium-play", {"learning_rate": (1e-3,), "eta": (0.01,)}),
        ("fql", "antmaze-medium-play", {"alpha": (10.0,), "normalise_q": False,
         "q_aggregate": "mean", "flow_steps": 10, "width": 512, "depth": 4}),
        ("fql", "antmaze-large-diverse", {"alpha": (3.0,)}),
        ("sscql", "halfcheetah-medium", {"alpha_completion": (0.2,), "alpha_flow": (1.0,),
         "batch_size": 1024, "q_aggregate": "min", "normalise_q": True, "ema_rate": 5e-4}),
        ("sscql", "walker2d-medium", {"alpha_completion": (0.5,)}),
        ("sscql", "hopper-medium-expert", {"alpha_completion": (0.75,)}),
        ("qipo-diff", "hopper-medium", {"support": 16, "q_alpha": 1.0, "k": 15,
         "critic_activation": "relu", "learning_rate": (1e-4,)}),
        ("qipo-ot", "antmaze-umaze", {"support": 32, "k": 10}),
        ("iql", "antmaze-umaze", {"expectile": 0.9, "beta": (10.0,)}),
        ("iql", "hopper-medium", {"expectile": 0.7, "beta": (3.0,)}),
    ],
)  # fmt: skip
def test_published_settings(agent: str, task: str, expected: dict[str, object]) -> None:
    _, config = agents.defaults(agent, tasks.find(task))
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize("agent", ["diffusion-ql", "consistency-ac"])
@pytest.mark.parametrize("dataset", ["my.npz", "mujoco/hopper/medium-v0"])
def test_data_of_ones_own_have_the_authors_candidates(agent: str, dataset: str) -> None:
    assert agents.defaults(agent, tasks.of_dataset("", dataset))[1].num_candidates == 50


def test_a_task_of_its_own_goes_before_its_family(monkeypatch: pytest.MonkeyPatch) -> None:
    own = task_settings.Entry("hopper-medium", "its paper", {"k": 3})
    family = task_settings.Entry("locomotion", "ours", {"k": 9, "width": 64})
    monkeypatch.setitem(task_settings.TABLE, "bc", (own, family))
    found = task_settings.of("bc", tasks.find("hopper-medium"))
    assert found == {"k": (3, "its paper"), "width": (64, "ours")}
    assert task_settings.of("bc", tasks.find("walker2d-medium"))["k"] == (9, "ours")
    assert task_settings.of("bc", tasks.find("antmaze-umaze")) == {}


@pytest.mark.parametrize(
    ("agent", "task", "reward", "updates"),
    [
        ("diffusion-ql", "antmaze-umaze", "cql", 1_000_000),
        ("diffusion-ql", "hopper-medium", "none", 2_000_000),
        ("iql", "hopper-medium", "iql_locomotion", 1_000_000),
        ("iql", "antmaze-umaze", "minus_one", 1_000_000),
        ("fql", "antmaze-umaze", "minus_one", 500_000),
        ("sscql", "hopper-medium", "none", 500_000),
        ("qipo-ot", "hopper-medium", "iql_locomotion", 2_000_000),
        ("qipo-diff", "antmaze-umaze", "minus_one", 1_000_000),
        ("gtp", "antmaze-umaze", "minus_one", 1_000_000),
    ],
)
def test_rewards_and_lengths_are_those_of_the_agents_authors(
    agent: str, task: str, reward: str, updates: int
) -> None:
    theirs = task_settings.for_agent(tasks.find(task), agent)
    assert (theirs.rules.reward, theirs.updates) == (reward, updates)
    assert theirs.rules.goal == tasks.find(task).rules.goal


def test_an_agent_whose_seeds_all_diverge_stops_no_other(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train = Trainer.train

    def diverging(self: Trainer) -> int:
        if self.settings["agent"] == "bc":
            self.hold.release()
            raise AllDiverged("the loss of seed 0 diverged at update 2: start again.")
        return train(self)

    monkeypatch.setattr(Trainer, "train", diverging)
    assert call(dataset, tmp_path, "--timed-updates", "0", "--agents", "bc", "iql") == 1
    said = capsys.readouterr()
    assert "| iql" in said.out and "| bc" not in said.out
    lines = [line for line in said.err.splitlines() if line.startswith("no scores of")]
    assert lines == ["no scores of bc: the loss of seed 0 diverged at update 2: start again."]


def test_diverged_seeds_stand_below_the_scores() -> None:
    found = {
        "gtp": result([90.0, 10.0]) | {"diverged": ["seed 7 at update 3"]},
        "bc": result([1.0]),
    }
    rows = tables.score_rows(found)
    assert [row["diverged"] for row in rows] == ["seed 7 at update 3", ""]
    said = "Diverged, and evaluated as before: gtp, seed 7 at update 3."
    assert said in tables.score_table(rows, ABOUT)
    assert "Diverged" not in tables.score_table(rows[1:], ABOUT)


def test_an_agent_that_ended_without_its_scores_is_named(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = ["--timed-updates", "0", "--agents", "bc", "iql"]
    assert call(dataset, tmp_path, *more) == 0
    kept = json.loads((tmp_path / "compare-pointmaze-demo" / "agents.json").read_text())
    (Path(kept["iql"]["run"]) / "summary.json").unlink()
    monkeypatch.setattr(Trainer, "train", lambda self: self.hold.release() or 0)
    capsys.readouterr()
    assert call(dataset, tmp_path, *more) == 1
    said = capsys.readouterr()
    assert "| bc" in said.out and "| iql" not in said.out
    assert said.err.startswith(f"no scores of iql: {kept['iql']['run']} has ended without")
    (Path(kept["bc"]["run"]) / "summary.json").unlink()
    assert call(dataset, tmp_path, *more) == 1
    said = capsys.readouterr()
    assert said.err.count("no scores of") == 2 and "brings no environment" not in said.out
    assert all(line.endswith("belong: repeat the command.") for line in said.err.splitlines())
    # What the sentence advises helps, without the evaluation too, and trains nothing again.
    monkeypatch.undo()
    (Path(kept["iql"]["run"]) / "evaluations.npz").unlink()
    before = {name: sorted(Path(kept[name]["run"]).glob("checkpoints/*")) for name in kept}
    assert call(dataset, tmp_path, *more) == 0
    said = capsys.readouterr()
    assert "| bc" in said.out and "| iql" in said.out and "no scores" not in said.err
    assert before == {n: sorted(Path(kept[n]["run"]).glob("checkpoints/*")) for n in kept}
