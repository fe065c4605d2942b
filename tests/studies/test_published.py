"""Published scores and settings: what counts as the published set, whose settings hold."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from gtp_fast import agents, tasks
from gtp_fast.agents import task_settings
from gtp_fast.environments import ogbench_names
from gtp_fast.studies import published

_ANT = "Ant_maze_{}_noisy_multistart_True_multigoal_{}_sparse_fixed.hdf5"


@pytest.mark.parametrize(
    ("task", "file", "description", "transitions", "is_it"),
    [
        ("hopper-medium", "hopper_medium-v2.hdf5", "a D4RL file", 999_906, True),
        ("hopper-medium", "hopper_medium_replay-v2.hdf5", "a D4RL file", 401_598, False),
        ("hopper-medium-replay", "hopper_medium_replay-v2.hdf5", "a D4RL file", 401_598, True),
        ("hopper-medium", "hopper_medium-v2.hdf5", "a D4RL file", 20_000, False),
        # The smallest of all, and a part of one.
        ("halfcheetah-medium-replay", "halfcheetah_medium_replay-v2.hdf5", "a D4RL file", 201_798,
         True),
        ("hopper-medium", "hopper_medium-v2.hdf5", "a D4RL file", 199_999, False),
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
)  # fmt: skip
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
