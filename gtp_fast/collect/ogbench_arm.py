"""Behaviours of OGBench's robot arm, by the oracles that its package includes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gtp_fast.collect.ogbench_steps import Steps
from gtp_fast.environments.ogbench_names import Single
from gtp_fast.errors import UserError

NOISE = 0.1
"""OGBench's noise: of the plans of `play`, and at most of the actions of `noisy`."""
_THINGS = {
    "cube": ("cube",),
    "scene": ("cube", "button", "drawer", "window"),
    "puzzle": ("button",),
}
# Least and largest probability that a cube is to be stacked, drawn for each episode.
_STACKING = {
    "single": (0.0, 0.0),
    "double": (0.0, 0.25),
    "triple": (0.05, 0.35),
    "quadruple": (0.1, 0.5),
}
# Noise of `noisy` for each action, in units of that of a displacement: x, y, z, turn, gripper.
_SCALES = np.array([1.0, 1.0, 1.0, 3.0, 10.0])
_TRIES = 20


def oracles(env: gym.Env[Any, Any], single: Single, noise: float) -> dict[str, Any]:
    """Return OGBench's oracle for each thing of the scene: plans, or closed loops for `noisy`."""
    kind = "markov" if single.data == "noisy" else "plan"
    made = {}
    for thing in _THINGS[single.body]:
        module = import_module(f"ogbench.manipspace.oracles.{kind}.{thing}_{kind}")
        options: dict[str, Any] = {"noise": noise} if kind == "plan" else {}
        if single.body == "puzzle":
            options["gripper_always_closed"] = True
        if (single.body, thing, kind) == ("scene", "cube", "markov"):
            options["max_step"] = 100
        made[thing] = getattr(module, f"{thing.capitalize()}{kind.capitalize()}Oracle")(
            env=env, **options
        )
    return made


def episode(env: gym.Env[Any, Any], agents: dict[str, Any], single: Single, noise: float) -> Steps:
    """Play one episode: one target after the other, each by its oracle.

    An episode of `scene` in which the cube leaves the view is played again, as in OGBench's data.
    """
    for _ in range(_TRIES):
        steps, qpos = _played(env, agents, single, noise)
        if single.body != "scene" or _in_view(qpos):
            return steps
    raise UserError(f"{single.dataset}: the cube left the view in {_TRIES} episodes in a row")


def _played(
    env: gym.Env[Any, Any], agents: dict[str, Any], single: Single, noise: float
) -> tuple[Steps, NDArray[np.float64]]:
    scene: Any = env.unwrapped
    observation, info = env.reset()
    stacking = np.random.uniform(*_STACKING.get(single.setting.split("-")[-1], (0.5, 0.5)))
    spread = np.random.uniform(0.0, noise) * _SCALES if single.data == "noisy" else None
    agent = agents[info["privileged/target_task"]]
    agent.reset(observation, info)
    steps, places, ended = Steps(), [], False
    while not ended:
        action = np.array(agent.select_action(observation, info))
        if spread is not None:
            action = action + np.random.normal(0.0, spread)
        action = np.clip(action, -1.0, 1.0)
        after, _, terminated, truncated, info = env.step(action)
        steps.add(observation, action, info)
        places.append(info["prev_qpos"])
        if agent.done:
            # The oracle starts from the state that its own target was set in.
            told, facts = scene.set_new_target(p_stack=stacking)
            agent = agents[facts["privileged/target_task"]]
            agent.reset(told, facts)
        observation, ended = after, terminated or truncated
    return steps, np.array(places)


def _in_view(qpos: NDArray[np.float64]) -> bool:
    """Whether the cube [T, nq] stays between the walls, or left of them in the drawer."""
    y, z = qpos[:, 15], qpos[:, 16]
    beyond = (y <= -0.3) & ((z < 0.06) | (z > 0.08))
    return not bool((y >= 0.29).any() or beyond.any())
