"""Names of a report's rows: each says in what its runs differ."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fake_runs import SETTINGS, config
from group_cases import HOPPER, LIVE, MAZE, RULES, scored, spec

from gtp_fast.studies import conditions, groups


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluation": spec("Big-v0")}, ["env=Toy-v0", "env=Big-v0"]),
        ({"evaluation": {"environment": None}}, ["env=Toy-v0", "env=unnamed"]),
        ({"evaluation": spec(kwargs={"bonus": 2})},
         ["env.kwargs.bonus=absent", "env.kwargs.bonus=2"]),
        ({"evaluation": spec(max_episode_steps=9)},
         ["env.max_episode_steps=5", "env.max_episode_steps=9"]),
        ({"evaluation": spec(entry_point="toy:Other")},
         ["env.entry_point=toy:Toy", "env.entry_point=toy:Other"]),
        ({"evaluation": spec(additional_wrappers=["still"])},
         ["env.additional_wrappers=[]", "env.additional_wrappers=['still']"]),
        ({"episodes": 5}, ["episodes=3", "episodes=5"]),
        ({"evaluation": {"environment": "torn {"}}, ["env=Toy-v0", "env=torn {"]),
        ({"observation_mean": [0.5], "observation_scale": [2.0]},
         ["normalise_observations=False", "normalise_observations=True"]),
        ({"precision": "bf16"}, ["precision=fp32", "precision=bf16"]),
        ({"rules": RULES | {"reward": "cql"}}, ["reward=none", "reward=cql"]),
        ({"dataset": "other/set-v0"}, ["dataset=some/set-v0", "dataset=other/set-v0"]),
        ({"steps": 200}, ["steps=100", "steps=200"]),
        ({"agent_settings": SETTINGS | {"k": 2}}, ["k=3", "k=2"]),
        ({"task_facts": MAZE.facts() | {"reference": [0, 2]}}, ["reference=0/1", "reference=0/2"]),
    ],
)  # fmt: skip
def test_runs_that_differ_in_more_than_their_seeds_keep_rows_with_names_of_their_own(
    tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    found = groups.collect([scored(tmp_path / "a", 0), scored(tmp_path / "b", 1, **changes)])
    assert groups.labels(found) == [f"gtp ({one})" for one in words]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # No file holds a live environment, but the summary names it.
        (({**LIVE, "summary": {"environment": "Toy-v0"}},
          {**LIVE, "summary": {"environment": "Big-v0"}}), ["env=Toy-v0", "env=Big-v0"]),
        # A run that went on with --env keeps its configuration.
        (({"summary": {"environment": "Toy-v0"}}, {"summary": {"environment": "Big-v0"}}),
         ["env=Toy-v0", "env=Big-v0"]),
        (({}, {"evaluation": spec("Big-v0"), "summary": {"environment": "Toy-v0"}}),
         # The references are the task's: its own environment is of another kind.
         ["env.entry_point=toy:Toy, env.max_episode_steps=5, env.additional_wrappers=[], "
          "reference=0/1, unit=normalised return",
          "env.entry_point=absent, env.max_episode_steps=absent, env.additional_wrappers=absent, "
          "reference=None, unit=success rate (%)"]),
        # An argument is no entry of the specification, though it has its name.
        (({}, {"evaluation": spec(kwargs={"bonus": None})}),
         ["env.kwargs.bonus=absent", "env.kwargs.bonus=None"]),
        (({"evaluation": spec(max_episode_steps=9)},
          {"evaluation": spec(kwargs={"max_episode_steps": 9})}),
         ["env.max_episode_steps=9, env.kwargs.max_episode_steps=absent",
          "env.max_episode_steps=5, env.kwargs.max_episode_steps=9"]),
    ],
)  # fmt: skip
def test_the_environment_is_the_one_in_which_a_run_was_evaluated(
    tmp_path: Path, changes: tuple[dict[str, Any], dict[str, Any]], words: list[str]
) -> None:
    paths = [scored(tmp_path / str(seed), seed, **one) for seed, one in enumerate(changes)]
    assert groups.labels(groups.collect(paths)) == [f"gtp ({one})" for one in words]


def test_runs_with_other_references_keep_rows_of_their_own(tmp_path: Path) -> None:
    preset = {"task": HOPPER.name, "task_facts": HOPPER.facts()}
    raw = {"task_facts": HOPPER.without_reference("Toy-v0").facts()}
    paths = [
        scored(tmp_path / "a", 0, **preset),
        scored(tmp_path / "b", 1, **preset | raw),
        scored(tmp_path / "c", 2, **preset | raw, evaluation=spec("Big-v0")),
    ]
    found = groups.collect(paths)
    assert [group.unit for group in found] == [groups.SCORE, groups.SUCCESS, groups.SUCCESS]
    # Where the environments tell rows apart, what follows from them is left out.
    assert groups.labels([found[0], found[2]]) == ["gtp (env=Toy-v0)", "gtp (env=Big-v0)"]
    low, high = HOPPER.reference or ()
    assert groups.labels(found) == [
        f"gtp (env=Toy-v0, reference={low!r}/{high!r}, unit=normalised return)",
        "gtp (env=Toy-v0, reference=None, unit=success rate (%))",
        "gtp (env=Big-v0)",
    ]


def test_another_environment_hides_nothing_that_differs_within_one(tmp_path: Path) -> None:
    specs = [spec(kwargs={"bonus": 1}), spec(kwargs={"bonus": 2}), spec("Big-v0"), spec("Big-v0")]
    more = [{}, {}, {}, {"precision": "bf16"}]
    paths = [
        scored(tmp_path / str(seed), seed, evaluation=one, **more[seed])
        for seed, one in enumerate(specs)
    ]
    assert groups.labels(groups.collect(paths)) == [
        "gtp (precision=fp32, env=Toy-v0, env.kwargs.bonus=1)",
        "gtp (precision=fp32, env=Toy-v0, env.kwargs.bonus=2)",
        "gtp (precision=fp32, env=Big-v0)",
        "gtp (precision=bf16, env=Big-v0)",
    ]


LONG = "x" * 40


@pytest.mark.parametrize(
    ("one", "other", "key"),
    [
        ({"evaluation": {"environment": f"{LONG}a"}}, {"evaluation": {"environment": f"{LONG}b"}},
         "env"),
        ({"evaluation": spec(kwargs={"map": [LONG, "a"]})},
         {"evaluation": spec(kwargs={"map": [LONG, "b"]})}, "env.kwargs.map"),
        ({"dataset": f"{LONG}a"}, {"dataset": f"{LONG}b"}, "dataset"),
    ],
)  # fmt: skip
def test_values_that_read_alike_when_cut_have_digests(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any], key: str
) -> None:
    paths = [scored(tmp_path / "a", 0, **one), scored(tmp_path / "b", 1, **other)]
    names = groups.labels(groups.collect(paths))
    assert len(set(names)) == 2
    for name in names:
        assert re.fullmatch(rf"gtp \({key}=.{{40}}\.\.\. [0-9a-f]{{6}}\)", name), name


def test_a_dataset_is_shown_by_its_own_name_unless_another_has_the_same(tmp_path: Path) -> None:
    files = {"a": ("here/x.npz", "x.npz"), "b": ("there/x.npz", "x.npz"), "c": ("y.npz", "own")}
    paths = [
        scored(tmp_path / folder, ord(folder), dataset=given, summary={"dataset": name})
        for folder, (given, name) in files.items()
    ]
    found = groups.collect(paths)
    shown = ["gtp (dataset=here/x.npz)", "gtp (dataset=there/x.npz)", "gtp (dataset=own)"]
    assert groups.labels(found) == shown
    assert groups.labels(found[1:]) == ["gtp (dataset=x.npz)", "gtp (dataset=own)"]


def test_a_value_of_forty_characters_is_shown_whole() -> None:
    assert conditions.short(LONG) == LONG
    assert conditions.short([LONG[:36]]) == str([LONG[:36]])


def test_numbers_that_round_alike_are_shown_whole() -> None:
    assert conditions.short([3e-4, 0.12345678, 5]) == "0.0003/0.12345678/5"


def test_rows_that_differ_in_their_seeds_or_folders_alone_are_named_by_them(
    tmp_path: Path,
) -> None:
    paths = [scored(tmp_path / "a", 0), scored(tmp_path / "b", 1, (60,)), scored(tmp_path / "c", 0)]
    first, other, again = groups.labels(groups.collect(paths))
    assert other == "gtp (seeds=1)"
    assert first == f"gtp (seeds=0, run={paths[0]})" and again == f"gtp (seeds=0, run={paths[2]})"


def test_returns_and_success_rates_are_told_apart() -> None:
    found = [groups.Group(config(), "a", unit=unit) for unit in (groups.SUCCESS, groups.RETURN)]
    assert groups.labels(found) == ["gtp (unit=success rate (%))", "gtp (unit=return)"]
