"""QIPO by hand: losses, targets and samplers of both variants, and its three phases."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import by_hand
import numpy as np
import pytest
import torch
from agent_cases import synthetic_table
from by_hand import dense, mish, network, numbers, relu, twins
from oracles import TWO_MODES, normal_scores

from gtp_fast import reference
from gtp_fast.agents.rivals import qipo, support
from gtp_fast.agents.rivals.qipo import QIPO
from gtp_fast.agents.rivals.qipo_diff import QIPODiff, QIPODiffConfig
from gtp_fast.agents.rivals.qipo_ot import QIPOOT
from gtp_fast.agents.rivals.qipo_settings import QIPOConfig
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream

SHARED: dict[str, Any] = {
    "width": 4, "depth": 2, "batch_size": 2, "support": 3, "beta": (0.8, 2.0), "q_alpha": 1.5,
    "discount": 0.9, "ema_rate": 0.1, "behaviour_fraction": 0.25, "warmup_fraction": 0.25,
}  # fmt: skip
WAYS = ("drawn", "kept")
KINDS: dict[str, tuple[type[QIPO], QIPOConfig]] = {
    "diff": (QIPODiff, QIPODiffConfig(k=4, **SHARED)),
    "ot": (QIPOOT, QIPOConfig(k=3, **SHARED)),
}
TOTAL = 16


def build(kind: str, stirred: bool = True, **changes: Any) -> QIPO:
    make, config = KINDS[kind]
    agent = make(replace(config, **changes), 3, 2, (5, 6), "cpu", "reference", torch.float64)
    agent.prepare(TOTAL)
    if stirred:
        by_hand.stir(agent)
        for number, kept in enumerate((agent.behaviour, agent.support)):
            wave = torch.arange(kept.flat.numel(), dtype=kept.flat.dtype).view_as(kept.flat)
            kept.flat.add_(0.2 * torch.sin(0.9 * wave + number))
    return agent


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
        self.behaviour = numbers(agent.behaviour.views, seed)
        self.support = numbers(agent.support.views, seed)
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


# --- the solver ----------------------------------------------------------------------------------


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
        steps, x, before = reference.solver_steps(times), start, 0.0
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
        steps, x, before = reference.solver_steps(times), scores, 0.0
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


# --- phases --------------------------------------------------------------------------------------


def test_phases_take_their_fractions_of_the_run_and_snapshots_their_turns() -> None:
    agent, phases, kept, supports = build("ot", stirred=False, renew_every=3), [], [], []
    for step in range(TOTAL):
        average = agent.actor.average.flat.clone()
        agent.advance(step, synthetic_table())
        phases.append(agent.phase)
        kept.append(torch.equal(agent.behaviour.flat, average))
        supports.append(torch.equal(agent.support.flat, average))
        agent.update(synthetic_table(), step)
    assert phases == [qipo.CLONING] * 4 + [qipo.WARMING_UP] * 4 + [qipo.GUIDED] * 8
    # From the end of cloning to the first guided update the actor rests, so it still is its copy.
    assert kept == [True] + [False] * 3 + [True] * 5 + [False] * 7
    assert supports == [step in (0, 8, 11, 14) for step in range(TOTAL)]


@pytest.mark.parametrize("way", WAYS)
def test_one_advance_serves_as_many_updates_as_it_says(way: str) -> None:
    table = synthetic_table()
    every = build("ot", stirred=False, renew_every=3, support_sets=way)
    first = build("ot", stirred=False, support_sets=way)
    first.prepare(TOTAL)
    first.renew_every, pieces, step = 3, [], 0
    while step < TOTAL:
        first.advance(step, table)
        pieces.append(first.updates_per_advance(step))
        for number in range(step, step + pieces[-1]):
            every.update(table, number)
            # A step on the device, as a recorded update has it, calls `advance` by itself never.
            first.update(table, torch.tensor(number))
        step += pieces[-1]
    assert pieces == [4, 4, 3, 3, 3]
    for name, x in every.state_dict().items():
        assert torch.allclose(x, first.state_dict()[name], rtol=1e-9, atol=1e-12), name


def test_by_default_support_sets_are_renewed_five_times() -> None:
    agent = build("ot", stirred=False)
    for total, expected in ((16, 2), (1000, 100), (1001, 101), (1, 1)):
        agent.prepare(total)
        assert agent.renew_every == expected, total


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_resumed_in_any_phase_goes_on_bit_for_bit(kind: str, way: str) -> None:
    table = synthetic_table()
    whole, saved = build(kind, stirred=False, support_sets=way), {}
    for step in range(TOTAL):
        if step in (2, 4, 6, 8, 9, 12):
            saved[step] = {name: x.clone() for name, x in whole.state_dict().items()}
        whole.update(table, step)
    again = build(kind, support_sets=way)
    for start, state in saved.items():
        by_hand.stir(again)
        again.advance(start, table)
        again.load_state_dict(state)
        for step in range(start, TOTAL):
            again.update(table, step)
        for name, x in whole.state_dict().items():
            assert torch.equal(x, again.state_dict()[name]), (start, name)


@pytest.mark.parametrize(
    ("total", "nominal_updates", "kept"),
    [(40, None, (False, False)), (80, None, (True, False)), (640, None, (True, True)),
     (80, 800, (True, True))],
)  # fmt: skip
def test_support_sets_are_kept_where_that_draws_less(
    total: int, nominal_updates: int | None, kept: tuple[bool, bool]
) -> None:
    """Of 64 states in batches of 2; sets for s' serve three quarters of the run, others a tenth."""
    agent = build("ot", stirred=False)
    agent.nominal_updates = nominal_updates
    agent.prepare(total)
    agent.advance(agent.guided_from, synthetic_table())
    sets = agent.backups, agent.supports
    assert tuple(each.drawn_at is not None for each in sets) == kept


def test_support_sets_too_large_to_keep_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = build("ot", stirred=False)
    agent.prepare(640)
    monkeypatch.setattr(support, "LARGEST", 64 * 3 * 2 * 8 - 1)
    agent.advance(agent.guided_from, synthetic_table())
    assert agent.backups.drawn_at is None


def test_support_sets_of_many_passes_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = []
    for size in (1 << 16, 21):
        monkeypatch.setattr(support, "_PASS", size)
        agent = build("ot", support_sets="kept")
        agent.advance(9, synthetic_table())
        whole.append(agent.supports.actions)
    assert torch.allclose(*whole, rtol=1e-12)


def test_optimisers_count_their_own_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, counted = build("ot", stirred=False), {"actor": [], "critic": []}
    for name, learner in agent.learners().items():

        def spy(loss, updates, *rest, kept=counted[name], descend=learner.descend):
            kept.append(updates)
            return descend(loss, updates, *rest)

        monkeypatch.setattr(learner, "descend", spy)
    for step in range(TOTAL):
        agent.update(synthetic_table(), step)
    assert counted == {"actor": list(range(1, 13)), "critic": list(range(1, 13))}
