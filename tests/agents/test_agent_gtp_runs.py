"""Runs of GTP: determinism, continuation, schedule, policies and backends."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from agent_cases import TINY, build, run, synthetic_table

from gtp_fast import reference
from gtp_fast.errors import UserError


def double(config, seeds=(0, 1), **options):
    return build(config, seeds, backend="reference", dtype=torch.float64, **options)


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_two_runs_give_the_same_bits(backend: str) -> None:
    table = synthetic_table()
    agents = [build(TINY, (0, 1), backend=backend) for _ in range(2)]
    metrics = [run(agent, table, 6) for agent in agents]
    assert torch.equal(*metrics)
    assert_same(*(agent.state_dict() for agent in agents))


LATE = {"trajectory_eta": 2.0, "advantage_start": 7}


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(("changes", "cut"), [({}, 5), (LATE, 5), (LATE, 9)])
def test_a_resumed_agent_goes_on_bit_for_bit(changes, cut: int, backend: str) -> None:
    config, total = replace(TINY, last_nodes=40, **changes), 12
    whole, first, second = (build(config, (4, 9), backend=backend) for _ in range(3))
    table = whole.drawn_from(synthetic_table(length=8))
    run(whole, table, total)
    first.prepare(total)
    for step in range(cut):
        first.update(table, step)
    saved = {name: value.clone() for name, value in first.state_dict().items()}
    second.prepare(total)
    second.load_state_dict(saved)
    again = second.drawn_from(synthetic_table(length=8))
    for step in range(cut, total):
        second.update(again, step)
    assert_same(second.state_dict(), whole.state_dict())


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_step_on_the_device_gives_the_bits_of_a_step_on_the_host(backend: str) -> None:
    """What a CUDA graph records is the update of a counter on the device."""
    config = replace(
        TINY, last_nodes=40, cosine_decay=True, max_q_backup=2, u_mode="uniform", t_law="lognormal"
    )
    table, total = synthetic_table(), 12
    host, device = (build(config, (4, 2**64 - 9), backend=backend) for _ in range(2))
    counter = torch.zeros((), dtype=torch.int64)
    device.prepare(total)
    host.prepare(total)
    held = [x.data_ptr() for x in (device.nodes, device.cdf, device.node_count)]
    for step in range(total):
        device.advance(step, table)
        metrics = host.update(table, step), device.update(table, counter)
        assert torch.equal(*metrics), step
        counter += 1
    assert_same(host.state_dict(), device.state_dict())
    assert [x.data_ptr() for x in (device.nodes, device.cdf, device.node_count)] == held


def test_a_checkpoint_of_another_shape_is_refused_in_one_sentence() -> None:
    agent = build(TINY, (0, 1))
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    for other in (build(replace(TINY, width=16), (0, 1)), build(TINY, (0, 1, 2))):
        with pytest.raises(UserError, match="start it with the width, depth, seeds"):
            agent.load_state_dict(other.state_dict())
    state = {name: value + 1 for name, value in before.items()}
    lacking = {name: value for name, value in state.items() if name != "actor.online"}
    with pytest.raises(UserError, match=r"lacks tensor 'actor\.online'"):
        agent.load_state_dict(lacking)
    with pytest.raises(UserError, match=r"unknown tensor 'actor\.more'"):
        agent.load_state_dict(state | {"actor.more": torch.zeros(1)})
    assert_same(agent.state_dict(), before)


def test_metrics_are_finite_named_and_one_column_a_seed() -> None:
    agent = build(TINY, (0, 1, 2))
    assert agent.metric_names[: len(agent.loss_names)] == agent.loss_names
    metrics = run(agent, synthetic_table(), 3)
    assert metrics.shape == (len(agent.metric_names), 3)
    assert torch.isfinite(metrics).all()
    assert not metrics.requires_grad


def test_the_grid_follows_the_schedule_of_the_whole_run() -> None:
    config, table, seen = replace(TINY, last_nodes=40, t_law="lognormal"), synthetic_table(), []
    agent = build(config, (0,))
    agent.prepare(9)
    for step in range(9):
        agent.update(table, step)
        assert int(agent.node_count) == agent.num_nodes
        used = agent.nodes[: agent.num_nodes]
        assert torch.equal(used, reference.karras_nodes(agent.num_nodes))
        law, unused = agent.cdf[: agent.num_nodes], agent.cdf[agent.num_nodes :]
        assert torch.equal(law, reference.lognormal_cdf(agent.num_nodes))
        assert len(agent.cdf) == 41 and (unused == 2**32).all()
        seen.append(agent.num_nodes)
    assert seen == [11] * 3 + [21] * 3 + [41] * 3
    short = build(replace(TINY, last_nodes=None), (0,))
    short.prepare(6000)
    assert short.last_nodes == 300
    small = build(replace(TINY, last_nodes=4), (0,))
    small.prepare(100)
    small.update(table, 0)
    assert small.num_nodes == 5 and small.cdf is None


@pytest.mark.parametrize("weights", ["ema", "online"])
@pytest.mark.parametrize("k", [None, 1, 7])
def test_folded_policies_take_their_weights_and_steps(weights: str, k: int | None) -> None:
    agent = build(TINY, (0, 1))
    run(agent, synthetic_table(), 3)
    policy = agent.folded(weights, k)
    assert policy.k == (k or TINY.k)
    source = agent.actor.average_views if weights == "ema" else agent.actor.views
    assert torch.equal(policy.last_weight, source[f"layer{TINY.depth}.weight"])
    assert policy.initial_scale == 80.0


def test_the_noise_is_scaled_when_acting_alone_and_none_gives_one_action() -> None:
    agent = build(replace(TINY, noise_scale=0.25), (0, 1))
    assert agent.folded("ema").initial_scale == 80.0
    assert agent.acting_policy().initial_scale == 20.0
    assert agent.acting_policy(noise_scale=2.0).initial_scale == 160.0
    assert agent.acting().noise_scale == 0.25
    still, states = agent.acting(noise_scale=0.0), torch.randn(2, 1, 3).expand(-1, 6, -1)
    assert still.noise_scale == 0.0
    for sampler, distinct in ((still.sampler, 1), (agent.acting().sampler, 6)):
        actions = sampler.sample(states.contiguous(), torch.randn(2, 6, 2))
        assert [len(rows.unique(dim=0)) for rows in actions] == [distinct] * 2
    with pytest.raises(UserError, match=r"--noise-scale 10\.5 is out of range: 0 to 10"):
        build(replace(TINY, noise_scale=10.5), (0,))


@pytest.mark.parametrize("config", [TINY, replace(TINY, max_q_backup=2, depth=3)])
def test_backends_agree_after_one_and_ten_updates(config) -> None:
    table = synthetic_table()
    fast, plain = (build(config, (0, 1), backend=backend) for backend in ("auto", "reference"))
    exact = double(config)
    for agent in (fast, plain, exact):
        agent.prepare(10)
    for step in range(10):
        metrics = [agent.update(table, step).double() for agent in (fast, plain, exact)]
        if step in (0, 9):
            # Adam divides by the gradient's own size, so rounding grows with the updates, for both.
            scale = metrics[2].abs().amax(1, keepdim=True)
            errors = [(m - metrics[2]).abs() / scale for m in metrics[:2]]
            assert errors[0].max() <= 3 * errors[1].max() + 1e-5 * (1 + step), (step, errors)
    states = [agent.state_dict() for agent in (fast, plain, exact)]
    for name in ("actor.online", "actor.average", "critic.online", "critic.average"):
        fast_error, plain_error = (
            (state[name].double() - states[2][name]).abs().max() for state in states[:2]
        )
        assert fast_error <= 3 * plain_error + 1e-6, name


@pytest.mark.parametrize(("mask", "expected"), [(0.0, (1.5, 1.0)), (1.0, (2.0, 2.0))])
def test_the_critic_learns_the_values_of_a_two_state_chain(mask, expected) -> None:
    """A pays 1 and leads to B; B pays 1 and ends, or is cut by a time-out and leads back to A."""
    config = replace(TINY, discount=0.5, batch_size=32, critic_learning_rate=(1e-2,),
                     critic_ema_rate=0.1, k=1)  # fmt: skip
    agent = build(config, (0, 1), observation_dim=2)
    run(agent, synthetic_table(chain=mask), 400)
    states = torch.eye(2).repeat(2, 1, 1)
    for action in (torch.zeros(2, 2, 2), 0.5 * torch.ones(2, 2, 2)):
        with torch.no_grad():
            values = agent.critic.values(states, action)
        assert values.shape == (2, 2, 2)
        for twin in values.flatten(0, 1):
            assert twin.tolist() == pytest.approx(expected, abs=0.1)
