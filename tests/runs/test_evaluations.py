"""Records of evaluations: every episode kept, forgotten on resume, refused when broken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_policies import equal, play
from fake_runs import add_scores

from gtp_fast.errors import UserError
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.runs import Run, evaluations
from gtp_fast.runs.evaluations import EvaluationLog


def test_the_log_keeps_every_episode_and_forgets_what_a_resume_undoes(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.npz"
    log = EvaluationLog(path)
    first, second = play((3, 5), 6), play((3, 5), 4, seed=1)
    log.append(100, first)
    log.append(200, second)
    rows = evaluations.read(path)
    assert rows["step"].tolist() == [100] * 12 + [200] * 8
    assert rows["seed"].tolist() == [3] * 6 + [5] * 6 + [3] * 4 + [5] * 4
    assert rows["episode"].tolist() == [*range(6), *range(6), *range(4), *range(4)]
    assert rows["return"].tolist() == [*first.returns.ravel(), *second.returns.ravel()]
    steps, means = evaluations.by_step(rows, "return")
    assert steps == [100, 200]
    assert means[1].tolist() == pytest.approx(second.returns.mean(1).tolist())
    EvaluationLog(path, resume_step=200)
    assert set(evaluations.read(path)["step"].tolist()) == {100, 200}
    EvaluationLog(path, resume_step=150)
    assert set(evaluations.read(path)["step"].tolist()) == {100}


def test_an_evaluation_is_read_back_as_that_of_its_seeds_in_their_order(tmp_path: Path) -> None:
    log = EvaluationLog(tmp_path / "evaluations.npz")
    first, second = play((3, 5), 6), play((3, 5), 4, seed=1)
    log.append(200, second)
    log.append(100, second)
    # Takes the place of the one before, and of no other.
    log.append(100, first)
    for step, kept in ((100, first), (200, second)):
        found = log.at(step, (3, 5), None)
        assert found is not None and equal(found, kept)
    assert log.at(150, (3, 5), None) is None
    assert log.at(100, (5, 3), None) is None and log.at(100, (3, 7), None) is None


def test_a_success_that_one_evaluation_reports_makes_the_others_failures(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.npz"
    log, some = EvaluationLog(path), play((3, 5), 2)
    for step, told in ((100, np.nan), (200, 1.0)):
        log.append(step, replace(some, successes=np.array([[np.nan, told], [np.nan, np.nan]])))
        successes = evaluations.read(path)["success"]
        assert np.isnan(successes).all() if step == 100 else (successes.sum() == 1.0)


def test_the_mean_of_the_last_three_evaluations_is_one_figure_a_seed(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.npz"
    log = EvaluationLog(path)
    kept = [play((3, 5), 6, seed=number) for number in range(4)]
    for number, evaluation in enumerate(kept):
        log.append(100 * number, evaluation)
        means = evaluations.mean_of_last_three(evaluations.read(path), "return")
        assert (means is None) == (number < 2)
    assert means is not None
    assert means.tolist() == pytest.approx(np.mean([e.returns.mean(1) for e in kept[1:]], 0))


def test_a_broken_log_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.npz"
    EvaluationLog(path).append(1, play(episodes=2))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"evaluations\.npz cannot be read"):
        EvaluationLog(path)


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [("return", [1.0, np.nan] * 4, "returns are not finite"), ("seed", [3] * 7 + [9], "lack seeds"),
     ("step", np.linspace(0, 1, 8), "steps and seeds are no integers")],
)  # fmt: skip
def test_a_log_with_other_content_is_a_sentence(
    tmp_path: Path, column: str, values: object, said: str
) -> None:
    path = tmp_path / "evaluations.npz"
    log = EvaluationLog(path)
    for step in (1, 2):
        log.append(step, play((3, 5), episodes=2))
    np.savez(path, **evaluations.read(path) | {column: np.array(values)})
    with pytest.raises(UserError, match=said):
        evaluations.read(path)


def test_scores_of_a_made_up_run_are_read_back(tmp_path: Path) -> None:
    run = Run(tmp_path)
    add_scores(run, 5, [[1.0, 0.0]], [8])
    assert evaluations.read(run.evaluations)["success"].tolist() == [1.0, 0.0]


def test_score_and_success_rate_are_different_figures() -> None:
    evaluation = Evaluation(
        (0,),
        np.array([[1.0, 3.0]]),
        np.array([[5, 6]]),
        np.array([[1.0, 0.0]]),
        np.arange(2),
        (1, 5),
    )
    means = evaluation.means()
    assert means == {"return": [2.0], "length": [5.5], "score": [25.0], "success_rate": [0.5]}
    assert evaluation.scores.tolist() == [[0.0, 50.0]]
    # Where both are known the score is what a policy is judged by.
    assert evaluation.headline() == ("score", [25.0])
