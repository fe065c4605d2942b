"""Options of gtp_fast.fit: those of the command line, and each wrong one a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sets
import torch
from fit_cases import SMALL, robot
from native_cases import needs_native
from train_runs import only_run

import gtp_fast
from gtp_fast import cli, tasks, train
from gtp_fast.errors import UserError
from gtp_fast.runs import checkpoint


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return robot(tmp_path)


def words(options: dict[str, Any]) -> list[str]:
    """Return keywords as a command line."""
    given = []
    for name, value in options.items():
        each = value if isinstance(value, tuple) else (value,)
        given += [f"--{name.replace('_', '-')}", *map(str, each)]
    return given


def test_keywords_and_the_command_line_train_to_the_same_bits(
    dataset: Path, tmp_path: Path
) -> None:
    run = gtp_fast.fit(dataset, env="none", output=tmp_path / "a", seeds=(0, 3), eta=0.5, **SMALL)
    line = words(SMALL | {"dataset": dataset, "env": "none", "seeds": (0, 3), "eta": 0.5})
    assert cli.run(train.main, [*line, "--output", str(tmp_path / "b")]) == 0
    other = checkpoint.load(only_run(tmp_path / "b"))
    for name, tensor in checkpoint.load(run.path).tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name
    assert run.path.name.startswith("my-robot-gtp-")


def test_an_unknown_option_is_a_sentence(dataset: Path) -> None:
    with pytest.raises(UserError, match="Unknown option 'setps': did you mean steps"):
        gtp_fast.fit(dataset, setps=5)
    with pytest.raises(UserError, match="Say what to train on"):
        gtp_fast.fit(steps=5)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("steps", "20", "an integer or None"), ("steps", 20.5, "an integer or None"),
     ("batch_size", "64", "an integer"), ("batch_size", True, "an integer"),
     ("seeds", (0, "1"), "an integer"), ("seeds", "0", "an integer"),
     ("seeds", (0, 1.5), "an integer"), ("seeds", (0, True), "an integer"),
     ("eta", "1", "a number"),
     ("discount", None, "a number"), ("log_every", None, "an integer"), ("output", 3, "text"),
     ("tensorboard", "no", "True or False"), ("cut_at_goal", 1, "True or False"),
     ("action_low", "x", "a number"), ("preset", "papr", "one of auto, paper"),
     ("terminals", "states", "one of auto, terminal_state, trajectory_end")],
)  # fmt: skip
def test_a_value_of_another_kind_is_a_sentence(
    dataset: Path, tmp_path: Path, option: str, value: Any, said: str
) -> None:
    given = {"output": tmp_path / "runs", "env": "none", **SMALL} | {option: value}
    with pytest.raises(UserError) as caught:
        gtp_fast.fit(dataset, **given)
    wrong = value[1] if isinstance(value, tuple) else value
    option = option.replace("_", "-")
    assert str(caught.value) == f"--{option} must be {said}, not {wrong!r}."
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("value", [1.0, (1.0,), (1.0, 2.0, 3.0)])
def test_a_point_has_two_numbers(dataset: Path, tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        gtp_fast.fit(dataset, output=tmp_path, env="none", evaluation_goal=value, **SMALL)
    assert str(caught.value) == f"--evaluation-goal must be 2 values, not {value!r}."


def test_numbers_that_are_whole_stand_for_integers(dataset: Path, tmp_path: Path) -> None:
    floats = {"steps": 2e1, "batch_size": torch.tensor(8.0), "seeds": torch.arange(2), "eta": 1}
    floats |= {"learning_rate": np.array(1e-3), "lambda_flow": torch.tensor(0.5)}
    given = SMALL | floats | {"env": "none", "output": tmp_path, "device": torch.device("cpu")}
    config = gtp_fast.fit(dataset, **given).run.config()
    assert (config["steps"], config["agent_settings"]["batch_size"]) == (20, 8)
    assert isinstance(config["steps"], int) and config["seeds"] == [0, 1]
    own = config["agent_settings"]
    assert own["learning_rate"] == [1e-3] and own["lambda_flow"] == [0.5]


def test_a_logger_may_be_one_word(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--logger must be one of tensorboard, wandb"):
        gtp_fast.fit(dataset, env="none", output=tmp_path, logger="wandbb", **SMALL)
    run = gtp_fast.fit(dataset, env="none", output=tmp_path, **SMALL)
    with pytest.raises(UserError, match="--logger must be one of tensorboard, wandb"):
        gtp_fast.fit(resume=run, logger="wandbb")


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_is_a_whole_number_that_files_hold(seed: object) -> None:
    with pytest.raises(UserError, match=rf"--seeds must be whole numbers .* not {seed!r}\."):
        gtp_fast.fit(task="hopper-medium", dataset="absent.npz", seeds=(0, seed))


def test_lists_with_commas_are_several_values(dataset: Path, tmp_path: Path) -> None:
    line = words(SMALL | {"dataset": dataset, "env": "none", "output": tmp_path / "runs"})
    assert cli.run(train.main, [*line, "--seeds", "0,1,2"]) == 0
    assert json.loads((only_run(tmp_path / "runs") / "environment.json").read_text())
    assert checkpoint.load(only_run(tmp_path / "runs")).config["seeds"] == [0, 1, 2]


@needs_native
@pytest.mark.filterwarnings("ignore:the sampler runs through PyTorch")
def test_sizes_that_are_left_to_pytorch_are_told_wherever_the_engine_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "wide.npz", **sets.flat(steps=8, width=16385))
    line = SMALL | {"dataset": tmp_path / "wide.npz", "env": "none", "width": 2, "steps": 2}
    assert cli.run(train.main, words(line | {"output": tmp_path / "runs"})) == 0
    run, reason = only_run(tmp_path / "runs"), "observation_dim must be 1..16384, not 16385"
    environment, summary = (
        json.loads((run / f"{name}.json").read_text()) for name in ("environment", "summary")
    )
    shown = capsys.readouterr().out
    for told in (shown, environment["backend"], summary["operations"]):
        assert f"reference: sampler ({reason})" in told
    assert summary["engine"] == f"eager (no GPU; not fused: {reason})"
    assert f"engine      {summary['engine']}\n" in shown


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hopper", "hopper has several datasets; choose one of hopper-medium"),
        ("Hopper-v5", "Hopper-v5 is an environment, not a task: give --dataset X --env Hopper-v5"),
        ("pen-human-v1", "--dataset D4RL/pen/human-v2 takes the set from Minari"),
    ],
)
def test_names_that_are_no_task_get_the_mend(name: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        tasks.find(name)
    assert said in str(caught.value)


def test_a_dataset_that_misses_a_task_by_a_letter_is_refused(dataset: Path) -> None:
    with pytest.raises(UserError, match="did you mean hopper-medium"):
        gtp_fast.fit(dataset, task="hoper-medium", **SMALL)
