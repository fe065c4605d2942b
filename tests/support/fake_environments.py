"""A small environment whose every bit matters: a difference in one action grows with each step.

Worker processes import this file, so it knows no torch.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict


class Chaos(gymnasium.Env[Any, Any]):
    """A logistic map pushed by the action; ends when it first falls below a threshold drawn at
    reset.

    Thresholds are drawn such that some episodes last a few steps and others run into the limit; a
    success is a moment near the top, wherever in the episode.
    """

    def __init__(
        self, tells_success: bool = True, flat: bool = False, tells_failure: bool = True
    ) -> None:
        self.tells_success, self.tells_failure, self.flat = tells_success, tells_failure, flat
        self.action_space = Box(-2.0, 4.0, (2,), np.float32)
        box = Box(-np.inf, np.inf, (2,), np.float64)
        self.observation_space = box if flat else Dict({"goal": Box(-9, 9, (1,)), "state": box})

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.x = self.np_random.uniform(0.2, 0.8)
        self.threshold = self.np_random.choice([0.0, 0.02, 0.2])
        self.count = 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        push = float(action.astype(np.float64) @ np.array([0.3, -0.2]))
        self.x = 3.9 * self.x * (1 - self.x) * (0.9 + 0.1 * np.cos(push))
        self.count += 1
        ended = bool(self.x < self.threshold)
        success = bool(self.x > 0.93)
        told = self.tells_success and (success or self.tells_failure)
        info = {"success": success} if told else {}
        return self.observe(), self.x, ended, False, info

    def observe(self) -> Any:
        state = np.array([self.x, self.count / 10])
        return (
            state if self.flat else {"goal": np.array([self.threshold], np.float32), "state": state}
        )


class Drawn(Chaos):
    """Chaos that draws its state as a grey picture."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.render_mode = render_mode

    def render(self) -> Any:
        return np.full((32, 32, 3), int(255 * self.x), np.uint8)


class Endless(Chaos):
    """Chaos that never ends."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, False, truncated, info


class Telling(Chaos):
    """Chaos that tells more of each reset and step, as much as its state has it."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        observation, info = super().reset(seed=seed, options=options)
        return observation, info | self.more()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        *rest, info = super().step(action)
        return *rest, info | self.more()  # type: ignore[return-value]

    def more(self) -> dict[str, Any]:
        size = int(100 * self.x)
        return {"forces": np.zeros(size), "trace": {"steps": np.zeros(size)}}


class Failing(Chaos):
    """Chaos that raises in its reset or second step, or ends the program there ("exit")."""

    def __init__(self, where: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.where = where

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if self.where == "reset":
            raise ValueError("no start\nat all")
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.where == "step" and self.count:
            raise ZeroDivisionError
        if self.where == "exit" and self.count:
            sys.exit()
        return super().step(action)


class Drift(gymnasium.Env[Any, Any]):
    """A point pushed by the action along a line, paid for staying near its middle.

    Sums and products alone, so that equal actions give equal returns on every processor. Run
    folders of tests/old_runs name it: it stays as it is.
    """

    def __init__(self) -> None:
        self.action_space = Box(-2.0, 4.0, (2,), np.float32)
        self.observation_space = Box(-np.inf, np.inf, (3,), np.float64)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.speed, self.count = float(self.np_random.uniform(-1.0, 1.0)), 0.0, 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        first, second = action.astype(np.float64).tolist()
        self.speed = 0.75 * self.speed + 0.125 * first - 0.0625 * second
        self.x += 0.25 * self.speed
        self.count += 1
        reward = 1.0 - self.x * self.x - 0.125 * self.speed * self.speed
        return self.observe(), reward, abs(self.x) > 1.5, False, {}

    def observe(self) -> Any:
        return np.array([self.x, self.speed, self.count / 16])


def spec(limit: int = 30, entry: str = "Chaos", **settings: Any) -> EnvSpec:
    """Return the spec of Chaos with a time limit."""
    return EnvSpec(
        "Chaos-v0",
        entry_point=f"fake_environments:{entry}",
        max_episode_steps=limit,
        kwargs=settings,
        disable_env_checker=True,
    )


def make(spec: EnvSpec) -> gymnasium.Env[Any, Any]:
    """Return one environment of a spec."""
    return gymnasium.make(spec)


for name in ("Chaos", "Drift"):
    gymnasium.register(f"{name}-v0", entry_point=f"fake_environments:{name}")
for name in ("Short", "Quiet"):
    gymnasium.register(
        f"{name}/Chaos-v0",
        entry_point="fake_environments:Chaos",
        max_episode_steps=9,
        kwargs={"tells_success": name == "Short"},
    )


class Sticks(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that cannot be closed, as one whose window is gone."""

    def __init__(self) -> None:
        super().__init__(make(spec(flat=True)))

    def close(self) -> None:
        raise RuntimeError("the window is gone")
