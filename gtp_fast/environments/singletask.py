"""OGBench's single tasks as evaluation environments: the return is the success of the episode."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, WrapperSpec

from gtp_fast.environments.ogbench_names import Single
from gtp_fast.environments.ogbench_package import Numbers, required


class SingleTask(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Reward 1 at success, where the episode ends, else 0; resets and steps follow the seed.

    OGBench draws start cells and teleports from NumPy's global generator; here each environment has
    a state of its own, which a reset with a seed sets. Its robot arm takes a few steps by an
    unseeded action space before each reset: the reset state does not depend on them, but the
    solver's warm start does, so arm episodes repeat to rounding only.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self._numbers = Numbers()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode at the task's start with its goal."""
        if seed is not None:
            self.env.action_space.seed(seed)
        with self._numbers.drawn(seed):
            observation, _ = self.env.reset(seed=seed, options=options)
        return observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Do one step; `info` keeps the success alone."""
        with self._numbers.drawn():
            observation, _, terminated, truncated, info = self.env.step(action)
        success = float(info["success"])
        return observation, success, bool(terminated), bool(truncated), {"success": success}


def evaluation_spec(single: Single) -> EnvSpec:
    """Return the environment that a single task is evaluated in; a worker can rebuild it.

    Raises UserError where ogbench is not installed.
    """
    required(single.name)
    return counted(gym.spec(single.environment))


def counted(spec: EnvSpec) -> EnvSpec:
    """Return the environment of a single task in a SingleTask."""
    entry = f"{SingleTask.__module__}:{SingleTask.__name__}"
    counts = copy.deepcopy(spec)
    counts.additional_wrappers += (WrapperSpec(SingleTask.__name__, entry, {}),)
    return counts
