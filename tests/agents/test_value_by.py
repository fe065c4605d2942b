"""V(s) by a network that is fitted to Q of the policy's actions, in place of these actions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from agent_cases import TINY, build, run, synthetic_table

from gtp_fast import reference
from gtp_fast.agents.gtp import update
from gtp_fast.agents.gtp.update_native import NativeUpdate
from gtp_fast.data.table import Batch
from gtp_fast.errors import UserError

CONFIG = replace(TINY, value_by="network", value_samples=2)


def draws(count: int = 40) -> torch.Tensor:
    return torch.randn(1, count, generator=torch.Generator().manual_seed(0)).double()


def test_the_loss_is_half_the_mean_squared_error_and_its_minimum_the_mean() -> None:
    q = draws()
    v = torch.full_like(q, 0.3, requires_grad=True)
    loss = reference.expectile_loss(v, q, 0.5)
    assert loss.item() == pytest.approx(0.5 * float((q - 0.3).square().mean()))
    (slope,) = torch.autograd.grad(loss.sum(), v)
    assert slope.sum().item() == pytest.approx(0.3 - float(q.mean()))
    assert torch.autograd.gradcheck(lambda x: reference.expectile_loss(x, q, 0.5), (v,))


def test_one_step_is_spelled_out_by_hand() -> None:
    agent = build(CONFIG, (0, 1), backend="reference", dtype=torch.float64)
    agent.prepare(10)
    rows = synthetic_table().gather(torch.arange(16).reshape(1, 16).expand(2, -1))
    batch = Batch(*(field.double() for field in rows))
    actions = torch.tanh(torch.randn(2, 32, 2, generator=torch.Generator().manual_seed(1))).double()
    s = batch.observation
    with torch.no_grad():
        halves = [agent.critic.values(s, half).amin(0) for half in actions.chunk(2, 1)]
        before = agent.value.values(s)
        target = 0.5 * (halves[0] + halves[1])
    found = agent.fit_value(batch, actions, 0)
    wanted = 0.5 * (before - target).square().mean(1)
    assert torch.allclose(found["value_loss"], wanted, rtol=1e-12)
    with torch.no_grad():
        after = agent.value.values(s)
    assert ((after - target).square().mean(1) < (before - target).square().mean(1)).all()

    w, q, scale, _, _ = agent.weigh(batch, None)
    with torch.no_grad():
        own = agent.critic.values(s, batch.action).amin(0)
    advantage = own - after
    assert torch.allclose(w, reference.advantage_weights(advantage, agent.eta), rtol=1e-12)
    assert torch.allclose(q, own.mean(1)) and torch.allclose(scale, advantage.std(1, correction=0))


def test_it_learns_the_mean_that_samples_estimate() -> None:
    """With a frozen critic V falls towards E[Q(s, a_pi)], far below the spread of one sample."""
    config = replace(CONFIG, critic_learning_rate=(1e-2,), width=32, batch_size=64)
    agent = build(config, (0,), backend="reference")
    agent.prepare(400)
    s = synthetic_table().all().observation[None]
    generator = torch.Generator().manual_seed(2)
    batch = Batch(s, *[torch.zeros(1, 64, n) for n in (2, 1, 3, 1)])
    for step in range(400):
        agent.fit_value(batch, torch.rand(1, 128, 2, generator=generator) * 2 - 1, step)
    actions = torch.rand(1, 64 * 500, 2, generator=generator) * 2 - 1
    with torch.no_grad():
        q = agent.critic.values(s, actions).amin(0).reshape(500, 64)
        error = (agent.value.values(s)[0] - q.mean(0)).square().mean().sqrt()
    assert error < 0.5 * q.std(0).mean(), (error, q.std(0).mean())


def test_a_run_learns_it_and_the_health_draws_no_action_for_it() -> None:
    agent = build(CONFIG, (0, 1))
    assert agent.metric_names[1] == "value_loss"
    table = synthetic_table()
    before = {name: part.parameters.flat.clone() for name, part in agent.learners().items()}
    metrics = run(agent, table, 3)
    assert torch.isfinite(metrics).all() and (metrics[1] > 0).all()
    for name, part in agent.learners().items():
        assert not torch.equal(before[name], part.parameters.flat), name
    index = torch.arange(32).expand(2, -1)
    first, second = (agent.weights_of(table, index, draw) for draw in range(2))
    assert torch.equal(first, second) and not (first == 1).all()
    kept = agent.state_dict()
    assert {"value.online", "value.average", "value.adam_first"} <= kept.keys()
    other = build(CONFIG, (0, 1))
    other.prepare(3)
    other.load_state_dict(kept)
    assert torch.equal(other.value.learner.parameters.flat, agent.value.learner.parameters.flat)


def test_a_seed_alone_equals_itself_among_others() -> None:
    among, alone = build(CONFIG, (3, 5)), build(CONFIG, (5,))
    left, right = (run(agent, synthetic_table(), 3) for agent in (among, alone))
    assert torch.equal(left[:, 1:], right)


def test_the_fast_path_is_as_close_to_float64_as_the_reference() -> None:
    forms = (("auto", torch.float32), ("reference", torch.float32), ("reference", torch.float64))
    fast, plain, exact = (
        run(build(CONFIG, range(8), backend=backend, dtype=dtype), synthetic_table(), 1).double()
        for backend, dtype in forms
    )
    scale = exact.abs().amax(1, keepdim=True)
    errors = [((x - exact).abs() / scale).max() for x in (fast, plain)]
    assert errors[0] <= 3 * errors[1] + 1e-5, errors


def test_auto_says_that_the_update_is_not_fused_and_fused_refuses() -> None:
    agent = build(CONFIG, (0,))
    run(agent, synthetic_table(), 1)
    assert not isinstance(agent.do, NativeUpdate) and agent.do.func is update.update
    assert "single operations: update (--value-by network is no part" in agent.ops.describe()
    with pytest.raises(UserError, match="--backend fused is not available: --value-by network"):
        build(CONFIG, (0,), backend="fused")


def test_without_a_critic_there_is_no_network() -> None:
    for changes in ({"eta": (0.0,)}, {"advantage_start": None}):
        agent = build(replace(CONFIG, **changes), (0,))
        assert agent.value is None and "value" not in agent.learners()
        metrics = dict(zip(agent.metric_names, run(agent, synthetic_table(), 1), strict=True))
        assert "value_loss" not in metrics and math.isclose(metrics["weight"].item(), 1.0)
