"""Where a policy is evaluated: the dataset's environment, another, or none with the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import fake_environments
import gymnasium as gym
import pytest
import sets
import torch

from gtp_fast.data import TransitionTable, load_table
from gtp_fast.data.environment import register_mazes, registered
from gtp_fast.data.judging import judged_in
from gtp_fast.errors import UserError
from gtp_fast.tasks import Task, find, of_dataset
from gtp_fast.training.options import RunConfig
from gtp_fast.training.place import evaluation_place, judged

TASK = of_dataset("swing", "swing.npz")


def table(stored: dict[str, Any] | None, width: int = 3) -> TransitionTable:
    """Return a table of Pendulum's sizes that names a stored environment."""
    arrays = sets.flat(width=width)
    arrays["actions"] = arrays["actions"][:, :1]
    made = load_table(TASK, arrays, use_cache=False, box=([-2.0], [2.0]))
    text = None if stored is None else json.dumps(stored)
    return replace(made, environment=text, evaluation_environment=text)


def pendulum(**changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(gym.spec("Pendulum-v1").to_json())
    return facts | changes


def place(stored: dict[str, Any] | None, task: Task = TASK, **options: Any) -> Any:
    return evaluation_place(table(stored), task, RunConfig(**options))


def test_the_stored_environment_is_taken() -> None:
    assert json.loads(place(pendulum()).environment)["id"] == "Pendulum-v1"


@pytest.mark.parametrize(
    "broken",
    [
        {"entry_point": "gymnasium.envs.classic_control:NoSuchPendulum"},
        {"entry_point": "gymnasium.gone:Pendulum"},
        {"kwargs": {"colour": "red"}},
        {
            "additional_wrappers": [
                {"name": "Old", "entry_point": "gymnasium.wrappers:OldWrapper", "kwargs": {}}
            ]
        },
    ],
)
def test_one_that_cannot_be_built_is_left_out_with_the_reason(broken: dict[str, Any]) -> None:
    found = place(pendulum(**broken))
    assert found.environment is None
    assert "\n" not in found.reason and ("cannot be built" in found.reason) == ("kwargs" in broken)
    other = place(pendulum(**broken), env="Pendulum-v1")
    assert json.loads(other.environment)["id"] == "Pendulum-v1"


def test_code_from_elsewhere_is_refused_unless_trusted() -> None:
    foreign = pendulum(entry_point="somewhere.else:Pendulum")
    found = place(foreign)
    assert found.environment is None and "give --trust-environment" in found.reason
    with pytest.raises(UserError, match="give --trust-environment"):
        place(foreign, find("hopper-medium"))
    assert place(foreign, env="none").reason == "--env none"


def test_no_environment_says_how_to_name_one() -> None:
    assert "--env names one" in place(None).reason


def test_an_environment_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="its states have 5 numbers, the environment's 3"):
        evaluation_place(table(None, width=5), TASK, RunConfig(env="Pendulum-v1"))


def test_an_environment_without_a_limit_of_steps_gets_a_note(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = "note: Drift-v0 is registered without max_episode_steps"
    drift = replace(table(None), action_dim=2, action_low=(-2.0,) * 2, action_high=(4.0,) * 2)
    for words, live in ((RunConfig(env="Drift-v0"), None), (RunConfig(), gym.make("Drift-v0"))):
        evaluation_place(drift, TASK, words, live)
        assert said in capsys.readouterr().err
    limited = gym.wrappers.TimeLimit(gym.make("Drift-v0"), 9)
    for one in (limited, fake_environments.Drift()):
        evaluation_place(drift, TASK, RunConfig(), one)
        assert not capsys.readouterr().err


def test_a_class_that_is_registered_is_kept_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    own = gym.envs.registration.EnvSpec("Own-v0", fake_environments.Drift, max_episode_steps=9)
    monkeypatch.setitem(gym.registry, own.id, own)
    drift = replace(table(None), action_dim=2, action_low=(-2.0,) * 2, action_high=(4.0,) * 2)
    found = evaluation_place(drift, TASK, RunConfig(env="Own-v0"))
    assert json.loads(str(found.environment))["entry_point"] == "fake_environments:Drift"


def test_an_unknown_environment_gets_the_nearest_names() -> None:
    with pytest.raises(UserError, match=r"Pendulm-v1 .*Pendulum-v1, .*\? An environment of your"):
        registered("Pendulm-v1")
    with pytest.raises(UserError, match=r"no_such_module:X-v0 \(No module .*'\)\. An environment"):
        registered("no_such_module:X-v0")


def test_references_stay_with_their_environment() -> None:
    task = find("hopper-medium").without_reference("Walker2d-v5")
    assert task.reference is None and "Walker2d-v5" in task.reference_source
    assert torch.tensor(task.score([1.0])).isnan().all()
    assert judged_in(find("hopper-medium"), "Hopper-v4").reference is not None
    assert judged_in(find("hopper-medium"), "Walker2d-v5").reference is None


def test_a_maze_that_is_named_is_judged_as_it_is_played() -> None:
    pytest.importorskip("gymnasium_robotics")
    pytest.importorskip("mujoco")
    register_mazes()
    task, name = find("pointmaze-demo"), "PointMaze_UMaze-v3"
    assert judged(task, RunConfig(env=name), None) == task
    live = gym.make(name)
    assert judged(task, RunConfig(), live).reference is None
    live.close()


def test_a_live_environment_is_kept_in_no_file() -> None:
    live = gym.make("Pendulum-v1")
    found = evaluation_place(table(None), TASK, RunConfig(), live)
    assert found.environment is None and "a live environment" in found.reason
