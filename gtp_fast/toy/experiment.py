"""Train every special case on every target and measure what its sampler draws."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch

from gtp_fast import reference
from gtp_fast.agents.gtp import GTP
from gtp_fast.agents.gtp.config import resolved
from gtp_fast.agents.gtp.state import sampler_plan
from gtp_fast.agents.setup import Setup
from gtp_fast.data.table import Batch
from gtp_fast.engine import Watch
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream
from gtp_fast.system import children
from gtp_fast.toy.laws import Array, normal_scores
from gtp_fast.toy.methods import METHODS, Method, config
from gtp_fast.toy.targets import LIMIT, STEP, Target, targets

STEPS = (1, 2, 5, 10)
COUNT = 2000
EXPLODED = 1e3
"""A loss of actions within [-1, 1] that is larger than this has left its problem."""


@dataclass
class Result:
    """Result of a method on a target; arrays by K are of the first seed."""

    target: str
    method: str
    seconds_per_update: float
    diverged: str = ""
    """The term and the update at which training left the rails, or nothing."""
    actions: dict[int, Array] = field(default_factory=dict)
    """K -> [COUNT, A]."""
    distance: dict[int, float] = field(default_factory=dict)
    """K -> W1 to the law (sliced in the plane), mean over the seeds."""
    modes: dict[int, float] = field(default_factory=dict)
    """K -> modes that got at least a quarter of their share, mean over the seeds."""
    outside: dict[int, float] = field(default_factory=dict)
    """K -> share of the actions outside every mode, mean over the seeds."""
    paths: dict[str, Array] = field(default_factory=dict)
    """`times`, `jump` [times, lines] and `steps` [K + 1, lines] on the line; `walks` [LIMIT + 1,
    walks, 2] of the four goals."""


def run_all(updates: int, seeds: tuple[int, ...], processes: int) -> list[Result]:
    """Train every method on every target, `processes` targets side by side.

    Raises children.ChildDied where a process was ended.
    """
    began = time.perf_counter()
    jobs = [(name, updates, seeds) for name in targets()]
    results: list[Result] = []
    count = min(processes, len(jobs))
    with children.started(count, "gtp_fast.toy.child", "a process that trains the toy") as trainers:
        for part in children.in_order(trainers, jobs):
            results += part
            print(f"{part[0].target}: done after {time.perf_counter() - began:.0f} s", flush=True)
    return results


def run(target: Target, updates: int, seeds: tuple[int, ...]) -> list[Result]:
    """Train every method on one target; methods that share a network are trained once."""
    results, trained = [], {}
    for method in METHODS:
        if method.guided and target.control:
            continue
        source = method.trained_as or method.name
        if source not in trained:
            trained[source] = train(target, method, updates, seeds)
        agent, seconds, diverged = trained[source]
        agent.config = resolved(config(method))
        results.append(measure(Result(target.name, method.name, seconds, diverged), agent, target))
    return results


def train(
    target: Target, method: Method, updates: int, seeds: tuple[int, ...]
) -> tuple[GTP, float, str]:
    """Train one method: full rate for half the updates, then a tenth of it.

    Returns the agent, the seconds an update took, and what diverged where.
    """
    agent = GTP(config(method), Setup(target.table.observation_dim, target.action_dim, seeds))
    agent.prepare(updates)
    watch, full, left = Watch(agent), agent.rate.clone(), dict[int, str]()
    began = time.perf_counter()
    for step in range(updates):
        agent.rate.copy_(full * min(1.0, 0.1 + 1.8 * (1 - step / updates)))
        watch.add(agent.update(target.table, step), step)
        watch.count += 1
        if (step + 1) % 50 == 0:
            means = watch.means()
            for name in agent.loss_names:
                for seed, value in zip(seeds, means[name], strict=True):
                    if not abs(value) <= EXPLODED:
                        left.setdefault(
                            seed, f"{name} {value:.0e} at update {step + 1}, seed {seed}"
                        )
            # What is beyond repair teaches nothing more.
            if len(left) == len(seeds):
                break
    return agent, (time.perf_counter() - began) / (step + 1), next(iter(left.values()), "")


def measure(result: Result, agent: GTP, target: Target) -> Result:
    """Fill in what the policy draws for every K, and the ways it takes."""
    truth = target.truth(COUNT, 10)
    for k in STEPS:
        state = torch.zeros(len(agent.seeds), COUNT, agent.observation_dim)
        actions = draw(agent, k, state)
        result.actions[k] = actions[0]
        result.distance[k] = float(np.mean([distance(one, truth) for one in actions]))
        ends = walk(agent, k)[:, -1] if target.control else actions
        shares = np.array([_shares(one, target) for one in ends])
        result.modes[k] = float((shares > 0.25 / len(target.modes)).sum(1).mean())
        result.outside[k] = float(1 - shares.sum(1).mean())
    if target.control:
        result.paths["walks"] = walk(agent, 2)[0, :, :60]
    elif target.action_dim == 1:
        result.paths |= paths(agent)
    return result


def draw(agent: GTP, k: int, state: torch.Tensor, step: int = 0) -> Array:
    """Sample every seed's averaged policy in K steps at states [S, B, O]: [S, B, A]."""
    policy = agent.folded("ema", k)
    noise = agent.chain_noise(step, Stream.ACT, state.shape[1], policy.draws)
    if agent.action_dim == 1 and step == 0:
        # Quantiles of the normal in place of draws: a sample without sampling error.
        first = noise[:, 0] if policy.draws > 1 else noise
        first.copy_(torch.from_numpy(normal_scores(state.shape[1]))[:, None])
    return np.asarray(reference.folded_sample(policy, state, noise).double())


def walk(agent: GTP, k: int, walks: int = 400) -> Array:
    """Follow the policy from the middle: places [S, LIMIT + 1, walks, 2]."""
    start = 0.05 * philox.normals(agent.keys, 0, Stream.COLLECT, walks, 2)
    places = [start]
    for step in range(LIMIT):
        action = torch.from_numpy(draw(agent, k, places[-1], step + 1)).float()
        places.append(places[-1] + STEP * action)
    return torch.stack(places, 1).double().numpy()


def paths(agent: GTP, lines: int = 13) -> dict[str, Array]:
    """Return one jump of the first seed's map from a_T, and its five steps."""
    c = agent.config
    start = c.t_max * torch.from_numpy(normal_scores(lines)).float().reshape(1, -1, 1)
    times = reference.sampling_times(60, c.t_min, c.t_max, torch.float64)
    ends = [_follow(agent, start, torch.stack((times[0], tau)))[-1] for tau in times[1:]]
    stops = reference.sampling_times(5, c.t_min, c.t_max, torch.float64)
    return {
        "times": times.numpy(),
        "jump": np.stack([start[0, :, 0].numpy(), *ends]),
        "stops": stops.numpy(),
        "steps": np.stack(_follow(agent, start, stops)),
    }


def _follow(agent: GTP, a: torch.Tensor, times: torch.Tensor) -> list[Array]:
    """Return the states [lines] of the first seed's sampler at its times, without added noise."""
    plan = sampler_plan(agent.config)(times)
    views = {name: view[:1] for name, view in agent.actor.average_views.items()}
    empty = torch.zeros(1, a.shape[1], agent.observation_dim)
    batch = Batch(empty, a, a[..., 0], empty, a[..., 0])
    full, before, states = torch.ones_like(a[..., 0]), torch.zeros_like(a), [a]
    steps = plan.schedule
    for (t, tau), keep, gain, carry in zip(
        plan.times.tolist(), steps.keep, steps.gain, steps.carry, strict=True
    ):
        phi = agent.clean(views, a, t * full, tau * full, batch)
        a = float(keep) * a + float(gain) * phi + float(carry) * before
        before = phi
        states.append(a)
    if len(plan.times) > len(times) - 1:
        # Of a Heun step only its second evaluation ends at a time of the grid.
        states = [states[0], *states[2::2], states[-1]]
    return [np.asarray(state[0, :, 0].double()) for state in states]


def distance(one: Array, other: Array, directions: int = 48) -> float:
    """Return W1 of two samples [N, A]; in the plane, its mean over directions."""
    if one.shape[1] == 1:
        axes = np.ones((1, 1))
    else:
        angle = (np.arange(directions) + 0.5) * np.pi / directions
        axes = np.stack((np.cos(angle), np.sin(angle)))
    return float(np.abs(np.sort(one @ axes, 0) - np.sort(other @ axes, 0)).mean())


def _shares(points: Array, target: Target) -> Array:
    """Return the share of points [N, A] at each mode [M]."""
    apart = np.linalg.norm(points[:, None] - target.modes, axis=-1)
    nearest, close = apart.argmin(1), apart.min(1) < target.radius
    return np.bincount(nearest[close], minlength=len(target.modes)) / len(points)
