"""Environments that give what no episode can count are named; odd but clear ones are counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fake_environments
import gymnasium
import numpy as np
import pytest
from fake_policies import KEYS, Linear, equal, play

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


def same(moment: Step) -> Step:
    return moment


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


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("reward", [1e308, -5e307])
def test_returns_that_float64_cannot_hold_or_average_are_named(reward: float) -> None:
    with pytest.raises(UserError, match="return of episode 0 is too large for float64: divide"):
        played(lambda moment: (moment[0], reward, *moment[2:]))


def with_success(shape: tuple[int, ...]) -> Callable[[Step], Step]:
    def change(moment: Step) -> Step:
        *rest, info = moment
        return *rest, {"success": np.full(shape, info["success"])}  # type: ignore[return-value]

    return change


def test_a_success_in_an_array_of_one_counts() -> None:
    one, plain = played(with_success((1,))), played(same)
    assert np.array_equal(one.successes, plain.successes)


def test_several_successes_of_one_step_are_refused() -> None:
    with pytest.raises(UserError, match="success as 2 numbers a step: report one"):
        played(with_success((2,)))


def told(**info: Any) -> Callable[[Step], Step]:
    return lambda moment: (*moment[:4], info)


def test_the_key_of_gymnasium_robotics_counts_where_there_is_no_other() -> None:
    assert played(told(is_success=np.float32(1.0))).successes.tolist() == [[1.0, 1.0]]
    both = told(success=False, is_success=True)
    assert played(both).successes.tolist() == [[0.0, 0.0]]
    assert not played(told(succeeded=True)).tells_success
    # A flag for each goal, or words, are no success of the episode, and no fault.
    for other in (np.ones(2, bool), [], {"a": True}, "no", None):
        assert not played(told(is_success=other)).tells_success


def test_a_success_that_is_none_is_unknown() -> None:
    assert not played(told(success=None)).tells_success


@pytest.mark.parametrize(("spaces", "flat"), [((1, 2), True), ((2, 1), False)])
def test_observations_of_several_axes_are_flattened(spaces: tuple[int, ...], flat: bool) -> None:
    class Tall(gymnasium.ObservationWrapper[Any, Any, Any]):
        def __init__(self) -> None:
            super().__init__(make(fake_environments.spec(limit=3, flat=flat)))
            tall = gymnasium.spaces.Box(-np.inf, np.inf, spaces, np.float64)
            point = gymnasium.spaces.Box(-9, 9, ())
            self.observation_space = (
                tall if flat else gymnasium.spaces.Dict({"goal": point, "state": tall})
            )

        def observation(self, observation: Any) -> Any:
            if flat:
                return observation.reshape(spaces)
            state = observation["state"].reshape(spaces)
            return {"goal": observation["goal"].reshape(()), "state": state}

    keys, sampler = ((), Flat(1)) if flat else (KEYS, Linear(1))
    plain = make(fake_environments.spec(limit=3, flat=flat))
    returns = []
    for environment in (Tall(), plain):
        with Evaluator(environment, keys, (3,), 2, seed=5) as evaluator:
            returns.append(evaluator.evaluate(sampler).returns.tolist())
    assert returns[0] == returns[1]


class Flat(Linear):
    """Linear for observations of two numbers."""

    def __init__(self, policies: int) -> None:
        super().__init__(policies)
        self.observation = self.observation[:, :2]


def test_what_info_holds_beside_the_success_does_not_matter() -> None:
    options: dict[str, Any] = {"episodes": 4, "environments": 2, "processes": 0}
    with Evaluator(fake_environments.spec(entry="Telling"), KEYS, (3,), **options) as evaluator:
        assert equal(evaluator.evaluate(Linear(1)), play(**options))


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("reset", r"reset \(ValueError: no start\)"),
        ("step", r"step \(ZeroDivisionError\)"),
        ("exit", r"step \(SystemExit\)"),
    ],
)
def test_what_an_environment_raises_is_a_sentence(where: str, what: str, processes: int) -> None:
    spec = fake_environments.spec(entry="Failing", where=where)
    said = f"The environment Chaos-v0 failed in its {what}: mend it"
    with (
        pytest.raises(UserError, match=said) as caught,
        Evaluator(spec, KEYS, (3,), 2, processes=processes) as evaluator,
    ):
        evaluator.evaluate(Linear(1))
    assert "\n" not in str(caught.value)
    if not processes:
        assert isinstance(caught.value.__cause__, ValueError | ZeroDivisionError | SystemExit)


def test_what_a_live_environment_raises_is_a_sentence_too() -> None:
    def broken(moment: Step) -> Step:
        raise KeyError("joint")

    with pytest.raises(UserError, match=r"Chaos-v0 failed in its step \(KeyError: 'joint'\)"):
        played(broken)
