"""Runs that were evaluated again: which evaluation counts, and which does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evidence_cells import CAMPAIGN, HALF, MAZES, NONE, ONE, cell, evaluated_again
from fake_runs import SETTINGS

from benchmarks import evidence_page, evidence_runs
from gtp_fast.errors import UserError


def test_an_older_run_counts_as_a_new_one_would_act(tmp_path: Path) -> None:
    run = cell(tmp_path, MAZES[0], "gtp", 0, NONE)
    evaluated_again(run, HALF)
    (record,) = evidence_runs.collect(tmp_path)
    assert record["scores"] == [50.0] and record["intervals"] == [[0.0, 100.0]]
    assert record["evaluated_again"] and record["settings"]["act_by"] == "euler"
    assert record["curve"]["scores"][-1] == [0.0]
    assert "1 of 1 runs are older" in evidence_page.page([record], CAMPAIGN)


@pytest.mark.parametrize(
    "changes",
    [
        {"act_by": "map"},
        {"step": 50},
        {"evaluation_seed": 1},
        {"episodes": 3},
        {"noise_scale": 0.5},
        {"num_candidates": 4},
        {"k": 10},
        {"weights": "online"},
        {"seeds": [1]},
        {"own_environment": False},
    ],
)
def test_another_evaluation_does_not_count(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = cell(tmp_path, MAZES[0], "gtp", 0, NONE)
    evaluated_again(run, HALF, **changes)
    (record,) = evidence_runs.collect(tmp_path)
    assert record["scores"] == [0.0] and not record["evaluated_again"]


def test_a_fitted_q_evaluation_is_none_of_episodes(tmp_path: Path) -> None:
    run = cell(tmp_path, MAZES[0], "gtp", 0, NONE)
    evaluated_again(run, HALF)
    (path,) = (run.path / "evaluations").iterdir()
    record = json.loads(path.read_text())
    del record["episodes"], record["per_episode"]
    # It comes first by its name.
    path.with_name("step_000000100-a-fqe.json").write_text(json.dumps(record | {"fqe_steps": 5}))
    assert evidence_runs.collect(tmp_path)[0]["scores"] == [50.0]


@pytest.mark.parametrize(("rule", "scores"), [("softmax", [50.0]), ("argmax", [0.0])])
def test_another_rule_among_candidates_does_not_count(
    tmp_path: Path, rule: str, scores: list[float]
) -> None:
    several = SETTINGS | {"num_candidates": 4, "candidate_rule": "softmax"}
    run = cell(tmp_path, MAZES[0], "gtp", 0, NONE, agent_settings=several)
    evaluated_again(run, HALF, num_candidates=4, candidate_rule=rule)
    assert evidence_runs.collect(tmp_path)[0]["scores"] == scores


def test_an_evaluation_from_before_the_choice_does_not_count(tmp_path: Path) -> None:
    run = cell(tmp_path, MAZES[0], "gtp", 0, NONE)
    evaluated_again(run, HALF)
    (path,) = (run.path / "evaluations").iterdir()
    record = json.loads(path.read_text())
    del record["act_by"], record["noise_scale"]
    path.write_text(json.dumps(record))
    assert evidence_runs.collect(tmp_path)[0]["scores"] == [0.0]


def test_a_run_that_acted_so_itself_or_is_a_rival_keeps_its_scores(tmp_path: Path) -> None:
    own = cell(tmp_path, MAZES[0], "gtp", 0, NONE, agent_settings=SETTINGS | {"act_by": "euler"})
    rival = cell(tmp_path, MAZES[0], "bc", 0, NONE)
    for run in (own, rival):
        evaluated_again(run, ONE)
    assert [record["scores"] for record in evidence_runs.collect(tmp_path)] == [[0.0], [0.0]]


def test_a_broken_evaluation_is_one_sentence(tmp_path: Path) -> None:
    run = cell(tmp_path, MAZES[0], "gtp", 0, NONE)
    evaluated_again(run, HALF, per_episode=None)
    with pytest.raises(UserError, match="is no evaluation: delete it"):
        evidence_runs.collect(tmp_path)
