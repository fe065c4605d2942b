"""QIPO by hand: losses, targets and samplers of both variants, and its three phases."""

from __future__ import annotations

import math
from typing import Any

import by_hand
import numpy as np
import pytest
import torch
from agent_cases import synthetic_table
from by_hand import dense, mish, network, numbers, relu, twins
from oracles import TWO_MODES, normal_scores
from qipo_cases import KINDS, WAYS, build

from gtp_fast import reference
from gtp_fast.agents.rivals.qipo import QIPO
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream


def alpha(t: float) -> float:
    return math.exp(-0.25 * t * t * 19.9 - 0.5 * t * 0.1)


def sigma(t: float) -> float:
    return math.sqrt(1 - alpha(t) ** 2)


def log_snr(t: float) -> float:
    return math.log(alpha(t) / sigma(t))


def time_of(level: float) -> float:
    """Invert `log_snr` by bisection."""
    low, high = 1e-6, 1.5
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if log_snr(middle) > level else (low, middle)
    return low


def predicted(kind: str, p: by_hand.Numbers, x: np.ndarray, t: float, s: np.ndarray) -> np.ndarray:
    """Return the noise that the diffusion's network predicts, or the flow's velocity."""
    if kind == "ot":
        return network(p, x, t, s, act=mish)
    angle = [1000 * t * 10_000 ** (-i / 7) for i in range(8)]
    waves = np.array([math.sin(v) for v in angle] + [math.cos(v) for v in angle])
    features = dense(p, "t.1", mish(dense(p, "t.0", waves)))
    return network(p, x, features, s, act=mish)


def sample(kind: str, p: by_hand.Numbers, z: np.ndarray, s: np.ndarray, k: int) -> np.ndarray:
    x = z
    if kind == "ot":
        for i in range(k):
            x = x + predicted(kind, p, x, i / k, s) / k
        return np.clip(x, -1, 1)
    ends = log_snr(1.0), log_snr(1e-3)
    times = [time_of(ends[0] + (ends[1] - ends[0]) * i / k) for i in range(k + 1)]
    before = None
    for i in range(k):
        t, after = times[i], times[i + 1]
        clean = np.clip((x - sigma(t) * predicted(kind, p, x, t, s)) / alpha(t), -1, 1)
        h, guess = log_snr(after) - log_snr(t), clean
        if before is not None and i < k - 1:
            ratio = (log_snr(t) - log_snr(times[i - 1])) / h
            guess = (1 + 1 / (2 * ratio)) * clean - before / (2 * ratio)
        x = sigma(after) / sigma(t) * x - alpha(after) * (math.exp(-h) - 1) * guess
        before = clean
    return np.clip(x, -1, 1)


class ByHand:
    """The losses of one seed at an agent's present parameters."""

    def __init__(self, kind: str, agent: QIPO, seed: int, step: int):
        self.kind, self.c, self.seed = kind, agent.config, seed
        self.key, self.step = agent.keys[seed : seed + 1], step
        self.actor = numbers(agent.actor.views, seed)
        self.behaviour = numbers(agent.behaviour.weights.views, seed)
        self.support = numbers(agent.support.weights.views, seed)
        self.critics = twins(agent.critic.learner.views, seed)
        self.targets = twins(agent.critic.learner.average_views, seed)
        batch = agent.batch(synthetic_table(), step)
        self.s, self.a, self.r, self.after, self.mask = (x[seed].numpy() for x in batch)

    def support_noise(self, stream: Stream, drawn_at: int) -> np.ndarray:
        """Return the noise of M actions for both states, of state i and action j at 2 j + i."""
        m = self.c.support
        if self.c.support_sets == "drawn":
            return self.draw(stream, 2 * m)
        whole = philox.normals(self.key, drawn_at, stream, 64, 2 * m, torch.float64)[0]
        rows = philox.integers(self.key, self.step, Stream.BATCH, 2, 64)[0]
        return whole[rows].reshape(2, m, 2).transpose(0, 1).reshape(2 * m, 2).numpy()

    def draw(self, stream: Stream, rows: int) -> np.ndarray:
        return philox.normals(self.key, self.step, stream, rows, 2, torch.float64)[0].numpy()

    def target_value(self, s: np.ndarray, a: np.ndarray) -> float:
        return min(network(q, s, a, act=relu)[0] for q in self.targets)

    def critic_loss(self) -> float:
        m, total = self.c.support, 0.0
        noise = self.support_noise(Stream.TARGET, 4)
        for i in range(2):
            s = self.after[i]
            actions = [sample(self.kind, self.behaviour, noise[2 * j + i], s, self.c.k)
                       for j in range(m)]  # fmt: skip
            values = [self.target_value(s, a) for a in actions]
            weights = [math.exp(self.c.q_alpha * v) for v in values]
            soft = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
            target = self.r[i] + 0.9 * self.mask[i] * soft
            total += sum((network(q, self.s[i], self.a[i], act=relu)[0] - target) ** 2
                         for q in self.critics)  # fmt: skip
        return total / 2

    def supports(self) -> tuple[list[list[np.ndarray]], list[list[float]]]:
        """Return actions and weights of the two states, the data's action first."""
        noise = self.support_noise(Stream.SUPPORT, 8)
        actions, weights = [], []
        for i in range(2):
            drawn = [sample(self.kind, self.support, noise[2 * j + i], self.s[i], self.c.k)
                     for j in range(self.c.support)]  # fmt: skip
            actions.append([self.a[i], *drawn])
            energy = [math.exp(self.c.beta[self.seed] * self.target_value(self.s[i], a))
                      for a in actions[-1]]  # fmt: skip
            weights.append([e / sum(energy) for e in energy])
        return actions, weights

    def actor_loss(
        self, p: by_hand.Numbers, actions: list[list[np.ndarray]], weights: list[list[float]]
    ) -> float:
        m, total = len(actions[0]), 0.0
        noise = self.draw(Stream.FLOW_NOISE, 2 * m)
        word = philox.words(self.key, self.step, Stream.FLOW_TIME, 2 * m, 1)[0][0, :, 0].tolist()
        for i in range(2):
            for j in range(m):
                z, u, a = noise[2 * j + i], ((word[2 * j + i] >> 8) + 0.5) / 2**24, actions[i][j]
                if self.kind == "ot":
                    t, x, aim = u, (1 - u) * z + u * a, a - z
                else:
                    t = 1e-3 + (1 - 1e-3) * u
                    x, aim = alpha(t) * a + sigma(t) * z, z
                miss = predicted(self.kind, p, x, t, self.s[i]) - aim
                total += weights[i][j] * sum(miss**2) / 2
        return total / 2


def check_actor(metrics: dict[str, torch.Tensor], hand: ByHand, actions: Any, weights: Any) -> None:
    loss = hand.actor_loss(hand.actor, actions, weights)
    assert float(metrics["actor_loss"][hand.seed]) == pytest.approx(loss, rel=1e-10)
    if hand.kind == "diff":
        return  # Its embedding has a thousand parameters; both variants share what is weighted.
    norm = by_hand.gradient_norm(lambda p: hand.actor_loss(p, actions, weights), hand.actor)
    assert float(metrics["actor_gradient"][hand.seed]) == pytest.approx(norm, rel=1e-6)


def update(agent: QIPO, step: int) -> dict[str, torch.Tensor]:
    return dict(zip(agent.metric_names, agent.update(synthetic_table(), step), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_cloning_reads_the_plain_loss_and_leaves_the_critic_alone(kind: str) -> None:
    agent = build(kind)
    hands = [ByHand(kind, agent, seed, 1) for seed in (0, 1)]
    critic = agent.critic.learner.parameters.flat.clone()
    metrics = update(agent, 1)
    for hand in hands:
        check_actor(metrics, hand, [[a] for a in hand.a], [[1.0], [1.0]])
    assert torch.equal(agent.critic.learner.parameters.flat, critic)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_warming_up_steps_the_critic_alone_on_actions_of_the_behaviour(kind: str, way: str) -> None:
    agent = build(kind, support_sets=way)
    actor = agent.actor.parameters.flat.clone()
    hands = [ByHand(kind, agent, seed, 5) for seed in (0, 1)]
    metrics = update(agent, 5)
    for hand in hands:
        got = float(metrics["critic_loss"][hand.seed])
        assert got == pytest.approx(hand.critic_loss(), rel=1e-10)
    assert torch.equal(agent.actor.parameters.flat, actor)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_guidance_weighs_support_actions_by_their_value(kind: str, way: str) -> None:
    agent = build(kind, support_sets=way)
    hands = [ByHand(kind, agent, seed, 9) for seed in (0, 1)]
    losses = [hand.critic_loss() for hand in hands]
    metrics = update(agent, 9)
    for hand, loss in zip(hands, losses, strict=True):
        assert float(metrics["critic_loss"][hand.seed]) == pytest.approx(loss, rel=1e-10)
        # The critic has been stepped before the weights are read.
        hand.targets = twins(agent.critic.learner.average_views, hand.seed)
        actions, weights = hand.supports()
        check_actor(metrics, hand, actions, weights)
        size = sum(1 / sum(w * w for w in row) for row in weights) / 2
        assert float(metrics["support_size"][hand.seed]) == pytest.approx(size, rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [None, 1, 2, 6])
def test_the_policy_walks_its_steps(kind: str, k: int | None) -> None:
    agent = build(kind)
    states = torch.tensor([[0.2, -1.0, 0.4], [1.0, 0.5, -0.7]], dtype=torch.float64)
    noise = torch.tensor([[0.3, -0.8], [-0.1, 0.5]], dtype=torch.float64)
    rows = states.expand(2, -1, -1), noise.expand(2, -1, -1)
    actions = agent.ops.sampler(agent.folded("ema", k)).sample(*rows)
    for seed in (0, 1):
        p = numbers(agent.actor.average_views, seed)
        for row in (0, 1):
            expected = sample(kind, p, noise[row].numpy(), states[row].numpy(), k or agent.config.k)
            assert actions[seed, row].tolist() == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_solver_times_are_evenly_spaced_in_the_log_of_signal_over_noise() -> None:
    times = reference.solver_times(15).tolist()
    assert (times[0], times[-1]) == (1.0, 1e-3)
    gaps = np.diff([log_snr(t) for t in times])
    assert gaps == pytest.approx(np.full(15, gaps.mean()), rel=1e-9)


def test_the_solver_is_of_second_order() -> None:
    """On Gaussian data the denoiser and the flow are known: the error falls like 1 / K^2."""
    mean, std = 0.3, 0.4

    def width(t: float) -> float:
        return math.sqrt(alpha(t) ** 2 * std**2 + sigma(t) ** 2)

    start, end = alpha(1.0) * mean + 1.3 * width(1.0), 1e-3
    exact = alpha(end) * mean + 1.3 * width(end)
    errors = []
    for k in (40, 80, 160):
        times = reference.solver_times(k)
        steps, x, before = reference.solver_schedule(times), start, 0.0
        for i, t in enumerate(times[:-1].tolist()):
            gap = x - alpha(t) * mean
            noise = sigma(t) * gap / width(t) ** 2
            clean = float(steps.skip[i]) * x + float(steps.out[i]) * noise
            assert clean == pytest.approx(mean + alpha(t) * std**2 * gap / width(t) ** 2, rel=1e-9)
            x = float(steps.keep[i] * x + steps.gain[i] * clean + steps.carry[i] * before)
            before = clean
        errors.append(abs(x - exact))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders == pytest.approx([2.0, 2.0], abs=0.25), errors


def test_fifteen_steps_carry_the_law_of_two_modes() -> None:
    """With the exact denoiser, even steps in ln(alpha / sigma) err less than even ones in time."""
    scores = normal_scores(2001)
    law = np.sort(TWO_MODES.quantiles(2001)).clip(-1, 1)

    def distance(times: torch.Tensor) -> float:
        steps, x, before = reference.solver_schedule(times), scores, 0.0
        for i, t in enumerate(times[:-1].tolist()):
            variance = (0.15 * alpha(t)) ** 2 + sigma(t) ** 2
            right = 1 / (1 + np.exp(-2 * 0.6 * alpha(t) * x / variance))
            middle = alpha(t) * 0.6 * (2 * right - 1)
            clean = 0.6 * (2 * right - 1) + 0.15**2 * alpha(t) / variance * (x - middle)
            noise = (x - alpha(t) * clean) / sigma(t)
            clean = np.clip(float(steps.skip[i]) * x + float(steps.out[i]) * noise, -1, 1)
            keep, gain, carry = (float(v[i]) for v in (steps.keep, steps.gain, steps.carry))
            x, before = keep * x + gain * clean + carry * before, clean
        return float(np.abs(np.sort(x).clip(-1, 1) - law).mean())

    assert distance(reference.solver_times(15)) == pytest.approx(0.015, abs=0.002)
    even = torch.linspace(1.0, 1e-3, 16, dtype=torch.float64)
    assert distance(even) == pytest.approx(0.040, abs=0.003)
