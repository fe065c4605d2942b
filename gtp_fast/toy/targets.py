"""Three targets: two modes on a line, eight in the plane, four goals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from gtp_fast.data.table import Columns, Provenance, Statistics, TransitionTable
from gtp_fast.tasks import Rules
from gtp_fast.toy.laws import TWO_MODES, Array

STEP, LIMIT, REACHED = 0.25, 10, 0.15
"""Of the four goals: the way of an action of length 1, steps of an episode, radius of success."""


@dataclass(frozen=True)
class Target:
    """A law of actions; `modes`: centres [M, A], `radius`: of the actions near one."""

    name: str
    table: TransitionTable
    modes: Array
    radius: float
    truth: Callable[[int, int], Array]
    """(count, seed) -> actions [count, A] of the law at the first state."""
    control: bool = False

    @property
    def action_dim(self) -> int:
        """Size of an action."""
        return int(self.modes.shape[1])


def targets() -> dict[str, Target]:
    """Return every target by name."""
    return {target.name: target for target in (two_modes(), eight_gaussians(), four_goals())}


def two_modes() -> Target:
    """0.5 N(-0.6, 0.15^2) + 0.5 N(0.6, 0.15^2); the reward is the action."""
    action = TWO_MODES.quantiles(20_000)[:, None]

    def truth(count: int, seed: int) -> Array:
        return TWO_MODES.sample(count, np.random.default_rng(seed))[:, None]

    centres = np.array(TWO_MODES.means)[:, None]
    table = bandit(action.clip(-1, 1), action[:, 0])
    return Target("two modes", table, centres, 2.5 * TWO_MODES.deviations[0], truth)


def eight_gaussians() -> Target:
    """Eight Gaussians of deviation 0.06 on a circle of radius 0.7; reward: the abscissa."""
    angle = np.arange(8) * np.pi / 4
    centres = 0.7 * np.stack((np.cos(angle), np.sin(angle)), 1)

    def truth(count: int, seed: int) -> Array:
        draw = np.random.default_rng(seed)
        chosen: Array = centres[draw.integers(8, size=count)]
        return chosen + 0.06 * draw.standard_normal((count, 2))

    action = truth(20_000, 0)
    return Target("eight Gaussians", bandit(action, action[:, 0]), centres, 0.2, truth)


def four_goals() -> Target:
    """Walk from the middle to one of four goals, chosen at random per episode."""
    goals = 0.6 * np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    episodes = 2500
    draw = np.random.default_rng(1)
    goal = goals[draw.integers(4, size=episodes)]
    place = 0.05 * draw.standard_normal((episodes, 2))
    places, actions = [], []
    for _ in range(LIMIT):
        action = _towards(goal - place) + 0.08 * draw.standard_normal((episodes, 2))
        places.append(place)
        actions.append(action.clip(-1, 1))
        place = place + STEP * actions[-1]
    observation, taken = (torch.from_numpy(np.concatenate(x)).float() for x in (places, actions))

    def truth(count: int, seed: int) -> Array:
        own = np.random.default_rng(seed)
        chosen = goals[own.integers(4, size=count)]
        noise: Array = 0.08 * own.standard_normal((count, 2))
        return (_towards(chosen) + noise).clip(-1, 1)

    table = make_table(observation, taken, torch.zeros(len(taken)), observation, 0.0)
    return Target("four goals", table, goals, REACHED, truth, control=True)


def _towards(way: Array) -> Array:
    length = np.linalg.norm(way, axis=1, keepdims=True)
    return np.asarray(way / np.maximum(length, STEP))


def bandit(action: Array, reward: Array) -> TransitionTable:
    """Return a table of one state, where every action ends the episode."""
    a, r = torch.from_numpy(action).float(), torch.from_numpy(reward).float()
    state = torch.zeros(len(a), 1)
    return make_table(state, a, r, state, 0.0)


def make_table(
    observation: torch.Tensor,
    action: torch.Tensor,
    reward: torch.Tensor,
    following: torch.Tensor,
    mask: float,
) -> TransitionTable:
    """Pack fields [N, ...] into a table; mask is that of every row."""
    count, width = action.shape
    columns = Columns.of(observation.shape[1], width)
    rows = torch.full((count, columns.mask + 1), mask)
    rows[:, columns.observation], rows[:, columns.action] = observation, action
    rows[:, columns.reward], rows[:, columns.next_observation] = reward, following
    return TransitionTable(
        rows=rows,
        episode=torch.arange(count, dtype=torch.int32),
        observation_dim=observation.shape[1],
        action_dim=width,
        observation_keys=(),
        action_low=(-1.0,) * width,
        action_high=(1.0,) * width,
        task="toy",
        rules=Rules(),
        statistics=Statistics(count, count, 0, 0.0, 1.0, None),
        provenance=Provenance("toy", False, "made in memory"),
    )
