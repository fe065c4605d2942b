"""What acts of a flow map: its K jumps, or K Euler steps of its flow phi(., t, t)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from agent_cases import TINY, build, make, run, synthetic_table, tiny

from gtp_fast import reference
from gtp_fast.data.table import Batch
from gtp_fast.engine import cause
from gtp_fast.errors import UserError
from gtp_fast.reference import philox

MEAN, SD = 0.2, 0.4


def test_euler_steps_of_a_gaussian_shrink_it_in_closed_form() -> None:
    """phi(a, t, t) is the denoiser mu + sd^2 / (sd^2 + t^2) (a - mu), linear about mu."""
    times = reference.sampling_times(5, dtype=torch.float64)
    plan = reference.euler_plan(times)
    assert torch.equal(plan.times[:, 0], plan.times[:, 1]), "the flow is the map at tau = t"
    start, a, factor = torch.tensor([-90.0, 3.0]).double(), torch.tensor([-90.0, 3.0]).double(), 1.0
    for t, keep, gain in zip(plan.times[:, 0], plan.schedule.keep, plan.schedule.gain, strict=True):
        a = keep * a + gain * (MEAN + SD**2 / (SD**2 + t**2) * (a - MEAN))
    for t, s in pairwise(times.tolist()):
        factor *= s / t + (1 - s / t) * SD**2 / (SD**2 + t**2)
    assert torch.allclose(a, MEAN + factor * (start - MEAN), rtol=0, atol=1e-12)


def test_euler_is_the_solver_of_the_learned_flow() -> None:
    config = replace(TINY, k=3, noise_scale=0.5)
    agent = build(config, (0, 1), backend="reference", dtype=torch.float64)
    weights = torch.Generator().manual_seed(0)
    agent.actor.average.flat.normal_(0.0, 0.3, generator=weights)
    rows = synthetic_table().gather(torch.arange(12).reshape(2, 6))
    batch = Batch(*(field.double() for field in rows))
    noise = philox.normals(philox.key_tensor([3, 4]), 0, 0, 6, 2, torch.float64)
    a, full = 0.5 * 80.0 * noise, torch.ones(2, 6).double()
    for t, s in pairwise(reference.flow_times(3, dtype=torch.float64)):
        a = reference.solve(
            lambda x, r, to: agent.clean(agent.actor.average_views, x, r, to, batch),
            a, t * full, s * full, 1,
        )  # fmt: skip
    steps, jumps, plain = (
        agent.acting(act_by=by).sampler.sample(batch.observation, noise)
        for by in ("euler", "map", None)
    )
    assert torch.allclose(steps, a.clamp(-1, 1), rtol=0, atol=1e-9)
    assert (steps - jumps).abs().max() > 1e-2 and torch.equal(plain, jumps)


def test_the_run_decides_and_a_call_may_choose_otherwise() -> None:
    of_time = {"sigma_data": 0.8, "t_min": 0.01, "t_max": 20.0}
    own = build(replace(TINY, act_by="euler", **of_time), (0, 1))
    assert own.acting().act_by == "euler" and own.acting(act_by="map").act_by == "map"
    for weights, k in (("ema", None), ("online", 7)):
        found = own.acting_policy(weights, k)
        assert found.k == (k or TINY.k)
        times = reference.flow_times(found.k, **of_time, dtype=torch.float64).tolist()
        wanted = own.folded(weights, k, reference.euler_plan, tuple(times))
        assert torch.equal(found.flatten(), wanted.flatten())
        jumps = own.acting_policy(weights, k, act_by="map")
        assert torch.equal(jumps.flatten(), own.folded(weights, k).flatten())


def test_what_acts_changes_nothing_of_an_update() -> None:
    table = synthetic_table()
    agents = [build(replace(TINY, act_by=by), (0, 1)) for by in ("map", "euler")]
    assert torch.equal(*(run(agent, table, 4) for agent in agents))
    left, right = (agent.state_dict() for agent in agents)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_choice_without_a_flow_map_is_refused() -> None:
    flow = build(replace(TINY, objective="flow"), (0,))
    assert flow.acting().act_by is None
    for agent in (flow, make("bc", (0,), tiny("bc"))):
        with pytest.raises(UserError, match="--act-by euler needs a flow map"):
            agent.acting(act_by="euler")
    with pytest.raises(UserError, match="--act-by euler has no meaning for --objective flow"):
        build(replace(TINY, objective="flow", act_by="euler"), (0,))


def test_euler_steps_of_a_flow_that_is_not_trained_are_refused() -> None:
    with pytest.raises(UserError, match=r"--act-by euler .* --lambda-flow 0 leaves untrained"):
        build(replace(TINY, act_by="euler", lambda_flow=(1.0, 0.0)), (0, 1))


def test_the_cause_of_a_divergence_is_sought_in_the_map_that_trains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = build(replace(TINY, act_by="euler"), (0,))
    agent.prepare(1)
    monkeypatch.setattr(agent, "euler_policy", lambda *_: pytest.fail("the flow was sampled"))
    assert cause.first(agent, synthetic_table(), 0, ("critic_loss",)).part == "critic"
    agent.actor.average.flat.fill_(torch.nan)
    assert cause.first(agent, synthetic_table(), 0, ("critic_loss",)).part == "actor"
