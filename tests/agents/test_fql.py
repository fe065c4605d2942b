"""FQL by hand: every loss, the flow's Euler steps and the one-step policy, in plain NumPy."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import by_hand
import numpy as np
import pytest
import torch
from by_hand import edge_table, gelu, network, numbers, twins

from gtp_fast.agents.rivals.fql import FQL, FQLConfig
from gtp_fast.agents.setup import Setup
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream

TINY = FQLConfig(width=4, depth=2, batch_size=2, flow_steps=3, alpha=(0.7,), discount=0.9)
CASES = {
    "paper": TINY,
    "normalised, min": replace(TINY, normalise_q=True, q_aggregate="min", ema_rate=0.1),
    "max-Q backup": replace(TINY, max_q_backup=3),
}


def build(config: FQLConfig) -> FQL:
    agent = FQL(config, Setup(3, 2, (5, 6), "cpu", "reference", torch.float64))
    by_hand.stir(agent)
    # Far enough for one part of every action to leave the box.
    agent.actor.parameters.views["layer2.bias"].data[:, 0] += 3.0
    if config.ema_rate == 1.0:
        agent.actor.average.flat.copy_(agent.actor.parameters.flat)
    return agent


class ByHand:
    """The losses of one seed at an agent's first parameters."""

    def __init__(self, agent: FQL, seed: int, step: int):
        self.c, self.agent, self.step, self.seed = agent.config, agent, step, seed
        self.flow, self.actor = (numbers(part.views, seed) for part in (agent.flow, agent.actor))
        self.acting = numbers(agent.actor.average_views, seed)
        self.critics = twins(agent.critic.learner.views, seed)
        self.targets = twins(agent.critic.learner.average_views, seed)
        batch = agent.batch(edge_table(), step)
        self.s, self.a, self.r, self.after, self.mask = (x[seed].numpy() for x in batch)
        self.a = np.clip(self.a, -(1 - 1e-5), 1 - 1e-5)
        noise = self.draw(Stream.ONE_STEP)
        self.goals = [self.cloned(s, z) for s, z in zip(self.s, noise, strict=True)]

    def draw(self, stream: Stream, rows: int = 2) -> np.ndarray:
        key = self.agent.keys[self.seed : self.seed + 1]
        return philox.normals(key, self.step, stream, rows, 2, torch.float64)[0].numpy()

    def times(self) -> list[float]:
        key = self.agent.keys[self.seed : self.seed + 1]
        word = philox.words(key, self.step, Stream.FLOW_TIME, 2, 1)[0][0, :, 0].tolist()
        return [((w >> 8) + 0.5) / 2**24 for w in word]

    def flow_loss(self, flow: by_hand.Numbers) -> float:
        total = 0.0
        for s, a, z, t in zip(self.s, self.a, self.draw(Stream.FLOW_NOISE), self.times(),
                              strict=True):  # fmt: skip
            velocity = network(flow, (1 - t) * z + t * a, t, s, act=gelu)
            total += sum((velocity - (a - z)) ** 2)
        return total / (2 * 2)

    def cloned(self, s: np.ndarray, z: np.ndarray) -> np.ndarray:
        x = z
        for i in range(self.c.flow_steps):
            velocity = network(self.flow, x, i / self.c.flow_steps, s, act=gelu)
            x = x + velocity / self.c.flow_steps
        return np.clip(x, -1, 1)

    def policy_terms(self, actor: by_hand.Numbers) -> tuple[float, float, float]:
        """Return distillation, mean Q and mean |Q|."""
        miss, values = 0.0, []
        for s, z, goal in zip(self.s, self.draw(Stream.ONE_STEP), self.goals, strict=True):
            action = network(actor, z, s, act=gelu)
            miss += sum((action - goal) ** 2)
            inside = np.clip(action, -1, 1)
            values.append(np.mean([network(q, s, inside, act=gelu)[0] for q in self.critics]))
        return miss / (2 * 2), float(np.mean(values)), float(np.mean(np.abs(values)))

    def critic_loss(self) -> float:
        copies = max(1, self.c.max_q_backup)
        noise, total = self.draw(Stream.TARGET, 2 * copies), 0.0
        for i in range(2):
            best = [-np.inf, -np.inf]
            for j in range(copies):
                action = np.clip(network(self.acting, noise[2 * j + i], self.after[i], act=gelu),
                                 -1, 1)  # fmt: skip
                for k, q in enumerate(self.targets):
                    best[k] = max(best[k], network(q, self.after[i], action, act=gelu)[0])
            value = min(best) if self.c.q_aggregate == "min" else sum(best) / 2
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
        miss, q, size = hand.policy_terms(hand.actor)
        scale = 1 / size if config.normalise_q else 1.0
        expected = {
            "critic_loss": hand.critic_loss(), "flow_loss": hand.flow_loss(hand.flow),
            "distillation_loss": miss, "guidance_loss": -scale * q, "q": q,
        }  # fmt: skip
        for name, value in expected.items():
            assert float(metrics[name][seed]) == pytest.approx(value, rel=1e-10, abs=1e-12), name

        def actor_loss(actor: by_hand.Numbers, hand: ByHand = hand, scale: float = scale) -> float:
            miss, q, _ = hand.policy_terms(actor)
            return 0.7 * miss - scale * q

        for name, loss, p in (
            ("flow_gradient", hand.flow_loss, hand.flow),
            ("actor_gradient", actor_loss, hand.actor),
        ):
            assert float(metrics[name][seed]) == pytest.approx(by_hand.gradient_norm(loss, p),
                                                               rel=1e-6), name  # fmt: skip


@pytest.mark.parametrize("weights", ["ema", "online"])
def test_the_policy_acts_in_one_step_inside_the_box(weights: str) -> None:
    agent = build(replace(TINY, ema_rate=0.5))
    by_hand.check_one_step(agent, weights, lambda p, z, s: network(p, z, s, act=gelu))


def test_networks_start_as_the_authors_do() -> None:
    agent = FQL(FQLConfig(width=64, depth=2), Setup(3, 2, (5, 6), "cpu", "reference"))
    for learner, sizes in ((agent.flow, (6, 64, 64, 2)), (agent.actor, (5, 64, 64, 2)),
                           (agent.critic.learner, (5, 64, 64, 1))):  # fmt: skip
        for i, (n_in, n_out) in enumerate(pairwise(sizes)):
            weight, bound = learner.views[f"layer{i}.weight"].detach(), (6 / (n_in + n_out)) ** 0.5
            assert 0.9 * bound < float(weight.abs().max()) <= bound
            assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.15)
            assert not learner.views[f"layer{i}.bias"].any()
    norms = agent.critic.learner.views
    assert (norms["norm1.scale"] == 1).all() and not norms["norm1.shift"].any()


def test_the_policy_that_acts_is_the_trained_one_by_default() -> None:
    agent = build(replace(TINY, learning_rate=(1e-2,)))
    for step in range(3):
        agent.update(edge_table(), step)
        assert torch.equal(agent.actor.average.flat, agent.actor.parameters.flat)
