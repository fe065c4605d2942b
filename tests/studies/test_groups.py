"""Which runs become one row of a report, and which figures the row has."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import SETTINGS, add_scores, config
from group_cases import HOPPER, LIVE, MAZE, RULES, scored, spec

from gtp_fast import tasks
from gtp_fast.runs import Run
from gtp_fast.runs.metrics import MetricsLog
from gtp_fast.studies import conditions, groups, losses, page, tables
from gtp_fast.studies.page.read import members


@pytest.mark.parametrize("changes", [LIVE, {}])
def test_runs_of_one_environment_by_their_summaries_are_joined(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    named = changes | {"summary": {"environment": "Toy-v0"}}
    assert len(groups.collect([scored(tmp_path / str(i), i, **named) for i in range(2)])) == 1


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


def test_figures_stand_in_the_order_of_their_seeds() -> None:
    at = {100: {7: 1.0, 4: 0.5}}
    found = groups.Group(config(), "some/set-v0", scores=at, successes=at)
    assert found.values(100).tolist() == found.success(100).tolist() == [0.5, 1.0]


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
