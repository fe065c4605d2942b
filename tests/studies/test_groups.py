"""Which runs become one row of a report, and what their rows are called."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import SETTINGS, add_scores, config

from gtp_fast import tasks
from gtp_fast.runs import Run
from gtp_fast.runs.metrics import MetricsLog
from gtp_fast.studies import conditions, groups, losses, page, tables
from gtp_fast.studies.page.read import members

HOPPER, MAZE = tasks.find("hopper-medium"), tasks.find("pointmaze-umaze")
RULES = {"goal": "none", "reward": "none"}


def spec(name: str = "Toy-v0", **changes: Any) -> dict[str, Any]:
    """Return what a run folder keeps of its environment."""
    facts = {"id": name, "entry_point": "toy:Toy", "max_episode_steps": 5, "kwargs": {}}
    return {"environment": json.dumps(facts | {"additional_wrappers": []} | changes)}


def scored(
    folder: Path,
    seed: int,
    at: tuple[int, ...] = (100,),
    value: float = 1.0,
    summary: dict[str, Any] | None = None,
    **changes: Any,
) -> str:
    """Make a run of one seed with an evaluation at each step."""
    folder.mkdir()
    run = Run(folder)
    run.write_config(config(seeds=[seed], **{"evaluation": spec(), "rules": RULES} | changes))
    for step in at:
        add_scores(run, step, [[value]], [seed])
    if summary is not None:
        run.write_summary(summary)
    return str(run)


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


LIVE: dict[str, Any] = {"evaluation": {"environment": None}}


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


@pytest.mark.parametrize("changes", [LIVE, {}])
def test_runs_of_one_environment_by_their_summaries_are_joined(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    named = changes | {"summary": {"environment": "Toy-v0"}}
    assert len(groups.collect([scored(tmp_path / str(i), i, **named) for i in range(2)])) == 1


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


def test_what_changes_no_result_or_an_older_version_did_not_write_splits_no_seeds(
    tmp_path: Path,
) -> None:
    young = {
        "task_facts": MAZE.facts(), "precision": "fp32", "engine": "eager", "preset": "auto",
        "observation_mean": [], "observation_scale": [], "checkpoint_every": 3,
        "rules": RULES | {"action_low": None, "terminals": "auto"},
        "evaluation": spec(reward_threshold=7.0, disable_env_checker=True) | {"reason": ""},
    }  # fmt: skip
    paths = [
        scored(tmp_path / "a", 0, engine="fused", backend="reference"),
        scored(tmp_path / "b", 1, **young),
        scored(tmp_path / "c", 2, **young | {"engine": "captured", "backend": "fused"}),
    ]
    (group,) = groups.collect(paths)
    assert group.seeds == {0, 1, 2}


def test_moments_that_another_device_summed_up_split_no_seeds(tmp_path: Path) -> None:
    paths = [
        scored(tmp_path / str(seed), seed, observation_mean=[mean], observation_scale=[1.0])
        for seed, mean in enumerate((0.1, 0.1 + 1e-16))
    ]
    assert len(groups.collect(paths)) == 1


def test_rows_that_differ_in_their_seeds_or_folders_alone_are_named_by_them(
    tmp_path: Path,
) -> None:
    paths = [scored(tmp_path / "a", 0), scored(tmp_path / "b", 1, (60,)), scored(tmp_path / "c", 0)]
    first, other, again = groups.labels(groups.collect(paths))
    assert other == "gtp (seeds=1)"
    assert first == f"gtp (seeds=0, run={paths[0]})" and again == f"gtp (seeds=0, run={paths[2]})"


def test_figures_stand_in_the_order_of_their_seeds() -> None:
    at = {100: {7: 1.0, 4: 0.5}}
    found = groups.Group(config(), "some/set-v0", scores=at, successes=at)
    assert found.values(100).tolist() == found.success(100).tolist() == [0.5, 1.0]


def test_returns_and_success_rates_are_told_apart() -> None:
    found = [groups.Group(config(), "a", unit=unit) for unit in (groups.SUCCESS, groups.RETURN)]
    assert groups.labels(found) == ["gtp (unit=success rate (%))", "gtp (unit=return)"]


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_a_row_has_a_step_at_which_all_its_seeds_were_evaluated(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    """The first shares a step with each of the others, which share none."""
    steps = {"a": (10, 20), "b": (20,), "c": (10,)}
    paths = [scored(tmp_path / name, ord(name), steps[name]) for name in order]
    found = groups.collect(paths)
    assert all(group.steps() for group in found) and len(found) == 2
    assert "gtp" in tables.run_table(found)
    assert all(member.scored for member in members(paths))


def test_a_run_is_read_once_however_many_it_is_compared_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"task": 0, "conditions": 0, "same": 0}

    def counted(name: str, real: Any) -> Any:
        def call(*given: Any) -> Any:
            counts[name] += 1
            return real(*given)

        return call

    monkeypatch.setattr(tasks, "of_run", counted("task", tasks.of_run))
    monkeypatch.setattr(conditions, "of_run", counted("conditions", conditions.of_run))
    monkeypatch.setattr(groups, "_same", counted("same", groups._same))
    more = [{"steps": 1}, {"steps": 2}, {"task": "hopper-medium"}, {"task": "walker2d-medium"}]
    paths = [scored(tmp_path / str(i), i, **changes) for i, changes in enumerate(more)]
    assert len(set(groups.labels(groups.collect(paths)))) == 3
    # Two of one agent and task are the only pair.
    assert counts == {"task": 4, "conditions": 4, "same": 1}


def test_seeds_with_settings_of_their_own_are_no_seeds_of_one_configuration(tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    run = Run(tmp_path / "both")
    own = SETTINGS | {"eta": [0.0, 2.0, 2.0], "lambda_flow": [0.5, 0.5, 0.5]}
    changes = {"evaluation": spec(), "rules": RULES, "agent_settings": own}
    run.write_config(config(seeds=[3, 4, 5], **changes))
    add_scores(run, 100, [[1.0], [0.0], [1.0]], [3, 4, 5])
    MetricsLog(run.metrics, (3, 4, 5)).write(100, {"critic_loss": [1.0, 2.0, 4.0]})
    alone = SETTINGS | {"eta": [2.0], "lambda_flow": [0.5]}
    found = groups.collect([str(run), scored(tmp_path / "one", 6, agent_settings=alone)])
    assert groups.labels(found) == ["gtp (eta=0)", "gtp (eta=2)"]
    assert [sorted(group.seeds) for group in found] == [[3], [4, 5, 6]]
    assert [group.values(100).tolist() for group in found] == [[100.0], [0.0, 100.0, 100.0]]
    assert [group.clones for group in found] == [True, False]
    means = [losses.curve(losses.joined(group), "critic_loss")[1].tolist() for group in found]
    assert means == [[1.0], [3.0]]
    unscored = groups.collect([str(run)], unscored=True)
    assert [sorted(group.seeds) for group in unscored] == [[3], [4, 5]]


RAW = {"task": "raw", "task_facts": tasks.Task(name="raw").facts()}


def test_a_seed_that_never_succeeds_stays_with_those_that_do(tmp_path: Path) -> None:
    """Its environment reports a success only when it happens."""

    def run(name: str, seed: int, success: float, **changes: Any) -> str:
        path = scored(tmp_path / name, seed, value=success, **RAW | changes)
        rows = dict(np.load(f"{path}/evaluations.npz"))
        if not success:
            rows["success"] = np.full(len(rows["success"]), np.nan)
        np.savez(f"{path}/evaluations.npz", **rows)
        return path

    paths = [run("a", 0, 0.0), run("b", 1, 1.0), run("c", 2, 0.0, evaluation=spec("Big-v0"))]
    joint, other = groups.collect(paths)
    assert joint.unit == groups.SUCCESS and joint.values(100).tolist() == [0.0, 100.0]
    assert joint.success(100).tolist() == [0.0, 1.0]
    # Nothing says that another environment reports successes at all.
    assert other.unit == groups.RETURN and np.isnan(other.success(100)).all()
    (one,) = groups.collect(paths[:1])
    assert one.unit == groups.RETURN


@pytest.mark.parametrize("played", ["Walker2d-v5", "Hopper-v4"])
def test_a_run_that_went_on_elsewhere_is_judged_there(tmp_path: Path, played: str) -> None:
    run = scored(
        tmp_path / "a", 0, task=HOPPER.name, task_facts=HOPPER.facts(), value=3234.3,
        evaluation=spec("Hopper-v5"), summary={"environment": played},
    )  # fmt: skip
    (group,) = groups.collect([run])
    own = played.startswith("Hopper")
    assert group.unit == (groups.SCORE if own else groups.SUCCESS)
    assert (group.task.reference is not None) == own
    assert group.conditions["reference"] == group.task.reference


def test_an_evaluation_counts_by_its_least_seed(tmp_path: Path) -> None:
    paths = []
    for seed, few in enumerate((50, 60)):
        (tmp_path / str(seed)).mkdir()
        run = Run(tmp_path / str(seed))
        run.write_config(config(seeds=[seed], evaluation=spec(), rules=RULES))
        for step in (50, 60, 70):
            value = 0.0 if step == 70 else 1.0
            add_scores(run, step, [[value] * (1 if step == few else 3)], [seed])
        paths.append(str(run))
    (group,) = groups.collect(paths)
    assert group.played == {50: 1, 60: 1, 70: 3}
    # The others have their score by luck of fewer episodes.
    assert group.best() == 70


def test_diverged_seeds_are_named(tmp_path: Path) -> None:
    lost = {"diverged": {"1": 30, "9": 5, "x": None}}
    paths = [scored(tmp_path / str(i), i, summary=lost if i else None) for i in range(3)]
    (group,) = groups.collect(paths)
    assert group.diverged == {1: 30}
    said = "Diverged, and evaluated as before: pointmaze-umaze, gtp, seed 1 at update 30."
    assert said in tables.run_table([group])
    assert "Diverged" not in tables.run_table(groups.collect(paths[:1]))
    text = page.render(members(paths))
    assert "<b>gtp on pointmaze-umaze</b>: seed 1 at update 30 diverged" in text
    assert "diverged" not in page.render(members(paths[:1]))
