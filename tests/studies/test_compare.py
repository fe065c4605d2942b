"""Comparing agents: what is trained, what is trained again, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import sets

from gtp_fast import ablate, cli, collect, compare
from gtp_fast.errors import UserError
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


def test_gtp_without_guidance_is_compared_by_its_label(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--agents", "gtp-clone", "gtp", "--timed-updates", "1", "--rounds", "1"]
    assert call(dataset, tmp_path, *more) == 0
    assert "gtp-clone is gtp with eta = 0: the same agent without" in capsys.readouterr().out
    whole = json.loads((tmp_path / "compare-pointmaze-demo" / "comparison.json").read_text())
    assert [row["agent"] for row in whole["scores"]] == ["gtp", "gtp-clone"] == [*whole["costs"]]
    kept = json.loads((tmp_path / "compare-pointmaze-demo" / "agents.json").read_text())
    settings = {name: facts["protocol"]["settings"] for name, facts in kept.items()}
    assert settings["gtp-clone"] == settings["gtp"] | {"eta": [0.0]} != settings["gtp"]
    # Without a critic a clone has nothing to choose by.
    given = compare.Options(task="pointmaze-demo", num_candidates=3)
    changes = [compare.changes_of(x, compare.protocol(given), given) for x in ("gtp", "gtp-clone")]
    assert changes == [{"num_candidates": 3}, {"eta": (0.0,)}]


def test_labels_are_the_registrys_and_those_that_were_added() -> None:
    assert compare.chosen_agents(["all"]) == compare.chosen_agents(["gtp", "all"])
    assert compare.chosen_agents(["all", "gtp-clone"])[:3] == ["gtp", "gtp-clone", "bc"]
    with pytest.raises(UserError, match="'gtp-clon': did you mean gtp-clone"):
        compare.chosen_agents(["all", "gtp-clon"])


def test_few_data_make_gtp_and_its_clone_as_narrow_as_a_single_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sets.hopper(tmp_path / "data", monkeypatch, "medium", 60)
    words = ["--task", "hopper-medium", "--output", str(tmp_path / "runs"), "--seeds", "0"]
    words += ["--steps", "2", "--episodes", "1", "--rounds", "1", "--timed-updates", "1"]
    assert cli.run(compare.main, [*words, "--agents", "gtp", "bc"]) == 0
    table = capsys.readouterr().out
    assert "| 3 x 128 |" in table and "| 3 x 256 |" in table
    # A run of an older version was of 256 whatever its data, and stays: its row is told apart.
    kept = tmp_path / "runs" / "compare-hopper-medium" / "agents.json"
    content = json.loads(kept.read_text())
    (run,) = (path for path in kept.parent.iterdir() if "-gtp-" in path.name)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("width: 128", "width: 256"))
    content["gtp"]["protocol"]["settings"]["width"] = 256
    del content["gtp"]["protocol"]["width_by_data"]
    kept.write_text(json.dumps(content))
    assert cli.run(compare.main, [*words, "--agents", "gtp", "gtp-clone"]) == 0
    said = capsys.readouterr().out
    assert "their widths are gtp 256 and gtp-clone 128." in said
    assert said.count("| 3 x 256 |") == 1 == said.count("| 3 x 128 |")


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
