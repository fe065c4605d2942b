"""How every agent of the registry acts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agent_cases import make, run, synthetic_table

from gtp_fast import agents
from gtp_fast.errors import UserError
from gtp_fast.policy import Policy
from gtp_fast.policy.file import Packed
from gtp_fast.reference.philox import Stream

NAMES = sorted(agents.REGISTRY)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("candidates", [1, 4])
def test_acting_is_fixed_by_its_seed_and_stays_in_the_box(name: str, candidates: int) -> None:
    agent = make(name, (0, 1))
    run(agent, synthetic_table(), 3)
    if not agent.config.candidates_differ and candidates > 1:
        with pytest.raises(UserError, match="draws no noise"):
            agent.acting(num_candidates=candidates)
        return
    ends = np.array([-2, 0], np.float32), np.array([2, 1], np.float32)
    packed = Packed(agent.folded(agent.acting_weights).select(1), *ends, {})
    policy = Policy(packed, acting=agent.acting(num_candidates=candidates, seed=1))
    states = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32) * 3
    actions = policy.act(states, seed=7)
    assert np.array_equal(actions, policy.act(states, seed=7))
    assert (actions >= [-2, 0]).all() and (actions <= [2, 1]).all()
    assert policy.num_candidates == candidates
    single = np.stack([policy.act(s, seed=7) for s in states[:2]])
    assert single.shape == (2, 2)
    np.testing.assert_allclose(single[0], policy.act(states[:1], seed=7)[0], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_acts_as_it_does_among_others(name: str) -> None:
    agent = make(name, (0, 1))
    run(agent, synthetic_table(), 3)
    candidates = 3 if agent.config.candidates_differ else 1
    every, one = (agent.acting(num_candidates=candidates, seed=s).sampler for s in (None, 1))
    z = agent.chain_noise(0, Stream.ACT, 5, every.draws)
    states = synthetic_table().rows[None, :5, :3].expand(2, -1, -1)
    np.testing.assert_allclose(
        every.sample(states, z)[1].numpy(), one.sample(states[:1], z[1:])[0].numpy(), atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_another_number_of_steps_is_had_or_refused(name: str) -> None:
    agent = make(name, (0,))
    if agent.k_is_free:
        assert agent.folded(k=3).k == 3
    else:
        with pytest.raises(UserError, match="k = 7 is not available"):
            agent.folded(k=7)
    assert agent.folded().k == agent.acting().steps


@pytest.mark.parametrize("name", NAMES)
def test_the_fused_policy_acts_as_the_reference_one(name: str) -> None:
    fused, plain = make(name, (0, 1)), make(name, (0, 1), backend="reference")
    plain.load_state_dict(fused.state_dict())
    z = plain.chain_noise(0, Stream.ACT, 33, plain.acting().sampler.draws)
    states = synthetic_table().rows[None, :33, :3].expand(2, -1, -1)
    actions = [agent.acting().sampler.sample(states, z) for agent in (fused, plain)]
    torch.testing.assert_close(*actions, rtol=1e-4, atol=1e-4)
