"""SSCQL by hand: flow, completion and critic terms, its Fourier features and its one step."""

from __future__ import annotations

import math
from dataclasses import replace

import by_hand
import numpy as np
import pytest
import torch
from by_hand import dense, edge_table, gelu, mish, network, numbers, twins

from gtp_fast.agents.rivals import sscql
from gtp_fast.agents.rivals.sscql import SSCQL, SSCQLConfig
from gtp_fast.agents.setup import Setup
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream

TINY = SSCQLConfig(
    width=4, depth=2, batch_size=2, alpha_flow=(1.0, 0.4), alpha_completion=(0.2, 0.6),
    discount=0.9, ema_rate=0.1,
)  # fmt: skip
CASES = {
    "paper": TINY,
    "not normalised, mean": replace(TINY, normalise_q=False, q_aggregate="mean"),
}


@pytest.fixture(autouse=True)
def _few_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sscql, "FEATURES", 4)


def build(config: SSCQLConfig) -> SSCQL:
    agent = SSCQL(config, Setup(3, 2, (5, 6), "cpu", "reference", torch.float64))
    by_hand.stir(agent)
    # Far enough for one part of every action to leave the box.
    agent.actor.parameters.views["layer2.bias"].data[:, 0] += 3.0
    return agent


def velocity(p: by_hand.Numbers, x: np.ndarray, t: float, d: float, s: np.ndarray) -> np.ndarray:
    features = np.zeros(4)
    for clock, time in (("t", t), ("d", d)):
        angle = [2 * math.pi * w * time for w in p["fourier"]]
        waves = np.array([math.cos(v) for v in angle] + [math.sin(v) for v in angle])
        features = features + dense(p, f"{clock}.1", mish(dense(p, f"{clock}.0", waves)))
    return network(p, x, features, s, act=mish)


class ByHand:
    """The losses of one seed at an agent's first parameters."""

    def __init__(self, agent: SSCQL, seed: int, step: int):
        self.c, self.seed = agent.config, seed
        self.key, self.step = agent.keys[seed : seed + 1], step
        self.actor = numbers(agent.actor.views, seed)
        self.acting = numbers(agent.actor.average_views, seed)
        self.critics = twins(agent.critic.learner.views, seed)
        self.targets = twins(agent.critic.learner.average_views, seed)
        batch = agent.batch(edge_table(), step)
        self.s, self.a, self.r, self.after, self.mask = (x[seed].numpy() for x in batch)
        self.a = np.clip(self.a, -(1 - 1e-5), 1 - 1e-5)
        word = philox.words(self.key, step, Stream.FLOW_TIME, 2, 1)[0][0, :, 0].tolist()
        self.t = [(((w >> 8) + 0.5) / 2**24) ** 2 for w in word]
        self.z = self.draw(Stream.FLOW_NOISE)

    def draw(self, stream: Stream) -> np.ndarray:
        return philox.normals(self.key, self.step, stream, 2, 2, torch.float64)[0].numpy()

    def actor_terms(self, p: by_hand.Numbers) -> tuple[float, float, float, float]:
        """Return flow loss, completion loss, mean Q and mean |Q|."""
        flow, miss, values = 0.0, 0.0, []
        for s, a, z, t in zip(self.s, self.a, self.z, self.t, strict=True):
            x = (1 - t) * z + t * a
            flow += sum((velocity(p, x, t, 0.0, s) - (a - z)) ** 2)
            completed = x + (1 - t) * velocity(p, x, t, 1 - t, s)
            miss += sum((completed - a) ** 2)
            inside = np.clip(completed, -1, 1)
            values.append(np.mean([network(q, s, inside, act=gelu)[0] for q in self.critics]))
        return flow / 4, miss / 4, float(np.mean(values)), float(np.mean(np.abs(values)))

    def critic_loss(self) -> float:
        total = 0.0
        for i, z in enumerate(self.draw(Stream.TARGET)):
            after = self.after[i]
            action = np.clip(z + velocity(self.acting, z, 0.0, 1.0, after), -1, 1)
            values = [network(q, after, action, act=gelu)[0] for q in self.targets]
            value = min(values) if self.c.q_aggregate == "min" else sum(values) / 2
            target = self.r[i] + 0.9 * self.mask[i] * value
            total += sum((network(q, self.s[i], self.a[i], act=gelu)[0] - target) ** 2
                         for q in self.critics)  # fmt: skip
        return total / 2


@pytest.mark.parametrize("case", CASES)
def test_an_update_reads_the_losses_of_the_paper_at_its_first_parameters(case: str) -> None:
    config = CASES[case]
    agent = build(config)
    hands = [ByHand(agent, seed, step=4) for seed in (0, 1)]
    metrics = dict(zip(agent.metric_names, agent.update(edge_table(), 4), strict=True))
    for seed, hand in enumerate(hands):
        flow, miss, q, size = hand.actor_terms(hand.actor)
        scale = 1 / size if config.normalise_q else 1.0
        expected = {
            "critic_loss": hand.critic_loss(), "flow_loss": flow, "completion_loss": miss,
            "guidance_loss": -scale * q, "q": q,
        }  # fmt: skip
        for name, value in expected.items():
            assert float(metrics[name][seed]) == pytest.approx(value, rel=1e-10, abs=1e-12), name

        def loss(p: by_hand.Numbers, hand: ByHand = hand, scale: float = scale) -> float:
            flow, miss, q, _ = hand.actor_terms(p)
            seed = hand.seed
            return config.alpha_flow[seed] * flow + config.alpha_completion[seed] * miss - scale * q

        norm = by_hand.gradient_norm(loss, hand.actor)
        assert float(metrics["actor_gradient"][seed]) == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("weights", ["ema", "online"])
def test_the_policy_acts_in_one_step_inside_the_box(weights: str) -> None:
    by_hand.check_one_step(build(TINY), weights, lambda p, z, s: z + velocity(p, z, 0.0, 1.0, s))


def test_frequencies_start_normal_and_learn() -> None:
    config = SSCQLConfig(width=4, depth=2, batch_size=2, learning_rate=(1e-2,))
    agent = SSCQL(config, Setup(3, 2, range(200), "cpu", "reference"))
    first = agent.actor.views["fourier"].detach().clone()
    assert float(first.std()) == pytest.approx(0.2, rel=0.1)
    assert abs(float(first.mean())) < 0.05
    agent.update(edge_table(), 0)
    assert (agent.actor.views["fourier"] != first).all()
