"""Each rival's losses and averages against its formulas in Python numbers, on two states.

With both learning rates at zero an update leaves every weight as it was, so the losses that it
reports are those of known weights.
"""

from __future__ import annotations

import itertools
import math

import plain_rivals as plain
import pytest
import torch
from agent_cases import synthetic_table
from fidelity_cases import (
    ACTIONS,
    DEPTH,
    MASKS,
    REWARDS,
    STATES,
    build,
    drawn,
    exact,
    q,
    table,
    views,
)

from gtp_fast.agents.base import Agent
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream


def chosen(agent: Agent) -> list[int]:
    return philox.integers(agent.keys, 0, Stream.BATCH, 2, 2)[0].tolist()


def reported(agent: Agent) -> dict[str, float]:
    metrics = agent.update(table(), 0)[:, 0].tolist()
    return dict(zip(agent.metric_names, metrics, strict=True))


def twice(x: float, y: float) -> float:
    return (x - y) ** 2


def critic_loss(agent: Agent, targets: list[float]) -> float:
    return sum(
        plain.mean(
            [
                twice(y, q(agent, twin, STATES[i], ACTIONS[i]))
                for y, i in zip(targets, chosen(agent), strict=True)
            ]
        )
        for twin in (0, 1)
    )


def guidance(agent: Agent, actions: list[list[float]]) -> float:
    coin = int(philox.integers(agent.keys, 0, Stream.TWIN, 1, 2)[0, 0])
    first, second = (0, 1) if coin == 1 else (1, 0)
    states = [STATES[i] for i in chosen(agent)]
    values, scale = (
        [q(agent, twin, s, a) for s, a in zip(states, actions, strict=True)]
        for twin in (first, second)
    )
    return -plain.mean(values) / plain.mean([abs(v) for v in scale])


def test_several_next_actions_are_valued_in_their_own_state() -> None:
    agent = build("diffusion-ql")
    batch = agent.batch(table(), 0)
    actions = torch.linspace(-1, 1, 12, dtype=torch.float64).view(1, 6, 2)
    found = agent.critic.next_values(batch, actions)
    for twin, copy, row in itertools.product(range(2), range(3), range(2)):
        state, action = batch.next_observation[0, row], actions[0, 2 * copy + row]
        wanted = q(agent, twin, state.tolist(), action.tolist(), True)
        assert found[twin, 0, copy, row].item() == exact(wanted)


@pytest.mark.parametrize("backups", [0, 3])
def test_diffusion_ql(backups: int) -> None:
    agent = build("diffusion-ql", max_q_backup=backups)
    vp, online = plain.VP(5), views(agent, "actor")
    average = views(agent, "actor", average=True)
    index = chosen(agent)

    steps = philox.integers(agent.keys, 0, Stream.CLONE_TIME, 2, 5)[0].tolist()
    errors = []
    for i, t, (eps,) in zip(index, steps, drawn(agent, Stream.CLONE_NOISE, 2), strict=True):
        x = vp.noisy(ACTIONS[i], t, eps)
        guess = plain.timed(online, x, float(t), STATES[i], DEPTH)
        errors += [twice(g, e) for g, e in zip(guess, eps, strict=True)]

    own = [
        plain.diffusion_sample(online, STATES[i], z, DEPTH, vp)
        for i, z in zip(index, drawn(agent, Stream.GUIDANCE, 2, 5), strict=True)
    ]
    copies = max(1, backups)
    noise = drawn(agent, Stream.TARGET, 2 * copies, 5)
    targets = []
    for row, i in enumerate(index):
        following = STATES[1 - i]
        taken = [
            plain.diffusion_sample(average, following, noise[2 * j + row], DEPTH, vp)
            for j in range(copies)
        ]
        best = min(max(q(agent, twin, following, a, True) for a in taken) for twin in (0, 1))
        targets.append(REWARDS[i] + 0.99 * MASKS[i] * best)

    metrics = reported(agent)
    assert metrics["cloning_loss"] == exact(plain.mean(errors))
    assert metrics["guidance_loss"] == exact(guidance(agent, own))
    assert metrics["critic_loss"] == exact(critic_loss(agent, targets))


@pytest.mark.parametrize(("k", "times"), [(2, [80.0, 2.0]), (5, [80.0, 60.5, 41.0, 21.5, 2.0])])
@pytest.mark.parametrize("scale", [False, True])
def test_consistency_ac(k: int, times: list[float], scale: bool) -> None:
    agent = build("consistency-ac", k=k, scale_target=scale, first_nodes=9)
    online, average = views(agent, "actor"), views(agent, "actor", average=True)
    index, nodes = chosen(agent), plain.karras(9)

    places = philox.integers(agent.keys, 0, Stream.CLONE_TIME, 2, 8)[0].tolist()
    errors = []
    for i, n, (z,) in zip(index, places, drawn(agent, Stream.CLONE_NOISE, 2), strict=True):
        low, high = nodes[n], nodes[n + 1]
        ends = [
            plain.consistency(net, [a + t * e for a, e in zip(ACTIONS[i], z, strict=True)], t,
                              STATES[i], DEPTH)
            for net, t in ((online, high), (average, low))
        ]  # fmt: skip
        errors += [100 / (high - low) * twice(x, y) for x, y in zip(*ends, strict=True)]

    own = [
        plain.consistency_sample(online, STATES[i], z, DEPTH, times)
        for i, z in zip(index, drawn(agent, Stream.GUIDANCE, 2, k), strict=True)
    ]
    targets = []
    for i, z in zip(index, drawn(agent, Stream.TARGET, 2, k), strict=True):
        s = STATES[1 - i]
        a = plain.consistency_sample(average, s, z, DEPTH, times)
        value = min(q(agent, twin, s, a, True) for twin in (0, 1))
        targets.append(REWARDS[i] + 0.99 * MASKS[i] * value)
    if scale:
        middle = plain.mean(targets)
        deviation = math.sqrt(sum(twice(y, middle) for y in targets) / (len(targets) - 1))
        targets = [y / (deviation + 1e-6) for y in targets]

    metrics = reported(agent)
    assert metrics["cloning_loss"] == exact(plain.mean(errors))
    assert metrics["guidance_loss"] == exact(guidance(agent, own))
    assert metrics["critic_loss"] == exact(critic_loss(agent, targets))


def test_the_grid_of_consistency_ac_grows_as_published() -> None:
    agent = build("consistency-ac")
    agent.prepare(2000)
    for step in range(0, 2000, 7):
        agent.advance(step, synthetic_table())
        grown = step / 2000 * (150**2 - 2**2) + 2**2
        assert agent.num_nodes == math.ceil(math.sqrt(grown) - 1) + 1
    nodes = agent.nodes[: agent.num_nodes].tolist()
    assert nodes == pytest.approx(plain.karras(agent.num_nodes), rel=1e-12)
    assert agent.num_nodes == 150


@pytest.mark.parametrize("name", ["diffusion-ql", "consistency-ac"])
def test_the_target_actor_moves_every_fifth_update_from_a_start_on(name: str) -> None:
    agent = build(name, ema_rate=0.005, ema_start=8)
    part = agent.learners()["actor"]
    online, average = part.parameters.flat.clone(), part.average.flat.clone()
    for step in range(22):
        for kind in (step, torch.tensor(step)):
            before = part.average.flat.clone()
            agent.update(table(), kind)
            moves = step >= 8 and step % 5 == 0
            target = before + 0.005 * (online - before) if moves else before
            assert torch.allclose(part.average.flat, target, rtol=1e-12, atol=1e-14), step
    assert not torch.equal(part.average.flat, average)


@pytest.mark.parametrize(
    ("name", "averaged"), [("fql", ["critic"]), ("sscql", ["critic", "actor"]), ("iql", ["critic"])]
)
def test_averages_move_towards_parameters_as_just_stepped(name: str, averaged: list[str]) -> None:
    moving = {"learning_rate": (0.1,), "critic_learning_rate": (0.1,), "critic_ema_rate": 0.25}
    agent = build(name, **moving, ema_rate=0.25)
    parts = {part: agent.learners()[part] for part in averaged}
    before = {p: (x.parameters.flat.clone(), x.average.flat.clone()) for p, x in parts.items()}
    agent.update(table(), 0)
    for part, learner in parts.items():
        (online, average), stepped = before[part], learner.parameters.flat
        assert (stepped - online).abs().max() > 0.01
        assert torch.allclose(learner.average.flat, average + 0.25 * (stepped - average), rtol=1e-9)


@pytest.mark.parametrize("beta", [0.5, 60.0])
def test_iql(beta: float) -> None:
    agent = build("iql", expectile=0.8, beta=(beta,))
    value, actor = views(agent, "value"), views(agent, "actor")
    index = chosen(agent)

    def v(s: list[float]) -> float:
        return plain.perceptron(value, s, DEPTH, plain.relu)[0]

    losses, likelihoods, weights, targets = [], [], [], []
    for i in index:
        s, a = STATES[i], ACTIONS[i]
        advantage = min(q(agent, twin, s, a, True) for twin in (0, 1)) - v(s)
        losses.append((0.2 if advantage < 0 else 0.8) * advantage**2)
        weights.append(min(math.exp(min(beta * advantage, 700.0)), 100.0))
        mu = plain.squash(plain.perceptron(actor, s, DEPTH, plain.relu))
        density = 0.0
        for x, m, log_std in zip(a, mu, actor["log_std"], strict=True):
            spread = math.exp(min(2.0, max(-5.0, log_std)))
            density += -0.5 * ((x - m) / spread) ** 2 - math.log(spread)
            density -= 0.5 * math.log(2 * math.pi)
        likelihoods.append(-weights[-1] * density)
        targets.append(REWARDS[i] + 0.99 * MASKS[i] * v(STATES[1 - i]))

    metrics = reported(agent)
    assert metrics["value_loss"] == exact(plain.mean(losses))
    assert metrics["actor_loss"] == exact(plain.mean(likelihoods))
    assert metrics["weight"] == exact(plain.mean(weights))
    assert metrics["critic_loss"] == exact(critic_loss(agent, targets))


def test_iql_fits_v_first_and_uses_the_new_one() -> None:
    still, moving = build("iql"), build("iql", critic_learning_rate=(0.1,))
    before, after = reported(still), reported(moving)
    assert before["value_loss"] == after["value_loss"]
    assert before["value"] != after["value"]
    assert before["critic_loss"] != after["critic_loss"]


def test_bc() -> None:
    agent = build("bc")
    actor = views(agent, "actor")
    errors = [
        twice(x, y)
        for i in chosen(agent)
        for x, y in zip(
            plain.perceptron(actor, STATES[i], DEPTH, plain.relu), ACTIONS[i], strict=True
        )
    ]
    assert reported(agent)["cloning_loss"] == exact(plain.mean(errors))
