"""Environments that give what no episode can count are named; odd but clear ones are counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fake_environments
import gymnasium
import numpy as np
import pytest
from fake_policies import KEYS, Linear

from gtp_fast.errors import UserError
from gtp_fast.evaluation.evaluator import Evaluator
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.evaluation.vector import make

Step = tuple[Any, Any, bool, bool, dict[str, Any]]


class Odd(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment with steps that a function changes."""

    def __init__(self, change: Callable[[Step], Step]) -> None:
        super().__init__(make(fake_environments.spec(limit=3)))
        self.change = change

    def step(self, action: Any) -> Step:
        return self.change(super().step(action))


def played(change: Callable[[Step], Step]) -> Evaluation:
    with Evaluator(Odd(change), KEYS, (3,), 2, seed=5) as evaluator:
        return evaluator.evaluate(Linear(1))


def bad_observation(moment: Step) -> Step:
    return moment[0] | {"state": np.array([0.5, np.nan])}, *moment[1:]


def bad_reward(moment: Step) -> Step:
    return moment[0], float("nan"), *moment[2:]


@pytest.mark.parametrize(
    ("change", "what"), [(bad_observation, "an observation"), (bad_reward, "a reward")]
)
def test_a_number_that_is_not_finite_is_named_with_its_episode(
    change: Callable[[Step], Step], what: str
) -> None:
    start = np.random.SeedSequence((5, 0)).generate_state(1)[0] >> 1
    said = rf"gave {what} that is not finite in step 1 of episode 0 \(reset seed {start}\): "
    with pytest.raises(UserError, match=said):
        played(change)


def with_success(shape: tuple[int, ...]) -> Callable[[Step], Step]:
    def change(moment: Step) -> Step:
        *rest, info = moment
        return *rest, {"success": np.full(shape, info["success"])}  # type: ignore[return-value]

    return change


def test_a_success_in_an_array_of_one_counts() -> None:
    one, plain = played(with_success((1,))), played(lambda moment: moment)
    assert np.array_equal(one.successes, plain.successes)


def test_several_successes_of_one_step_are_refused() -> None:
    with pytest.raises(UserError, match="success as 2 numbers a step: report one"):
        played(with_success((2,)))
