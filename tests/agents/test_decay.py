"""Learning rates that fall along a cosine: their values, of whole numbers and of tensors."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from agent_cases import TINY, build, synthetic_table

from gtp_fast.agents.state_value import StateValue


def test_rates_fall_to_zero_along_half_a_cosine() -> None:
    agent = build(replace(TINY, cosine_decay=True), (0, 1))
    agent.prepare(8)
    rate = torch.tensor([1.0, 4.0])
    for step, share in ((0, 1.0), (2, (1 + math.sqrt(0.5)) / 2), (4, 0.5), (8, 0.0)):
        assert agent.decay(step) == pytest.approx(share, abs=1e-12)
        for number in (step, torch.tensor(step)):
            found = agent.decayed(rate, number)
            assert found.dtype == rate.dtype
            assert found.tolist() == pytest.approx([share, 4 * share], abs=1e-6)


def test_rates_stay_without_decay() -> None:
    agent = build(TINY, (0,))
    agent.prepare(8)
    rate = torch.tensor([3.0])
    assert agent.decay(7) == 1.0 and agent.decayed(rate, 7) is rate


@pytest.mark.parametrize("decays", [False, True])
@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (4, 0.5)])
def test_v_takes_adams_step_at_the_critics_rate(decays: bool, step: int, share: float) -> None:
    agent = build(replace(TINY, cosine_decay=True, critic_learning_rate=(1e-3,)), (0,))
    agent.prepare(8)
    value = StateValue(agent, decays=decays)
    before, states = value.learner.parameters.flat.clone(), synthetic_table().all().observation
    value.step(states[None], torch.full((1, len(states)), 10.0), 0.5, step)
    moved = (value.learner.parameters.flat - before).abs().max().item()
    # From moments of zero a gradient g leaves 0.1 g and 0.001 g^2, each over its correction.
    ratio = 0.1 / (1 - 0.9 ** (step + 1)) / math.sqrt(0.001 / (1 - 0.999 ** (step + 1)))
    assert moved == pytest.approx(1e-3 * ratio * (share if decays else 1.0), rel=1e-3)


def test_the_gradient_of_v_is_clipped_as_the_settings_say() -> None:
    settings = {"critic_learning_rate": (1e-3,), "max_gradient_norm": 1e-9}
    agent = build(replace(TINY, **settings), (0,))
    agent.prepare(8)
    value = StateValue(agent)
    before, states = value.learner.parameters.flat.clone(), synthetic_table().all().observation
    _, norm = value.step(states[None], torch.full((1, len(states)), 10.0), 0.5, 0)
    moved = (value.learner.parameters.flat - before).abs().max().item()
    # Adam's epsilon is ten times a gradient of norm 1e-9, which without a limit moves by the rate.
    assert norm.item() > 1.0 and 0.0 < moved < 0.1 * 1e-3


def test_v_starts_from_draws_of_its_own() -> None:
    agent = build(replace(TINY, value_by="network", advantage_start=0), (0,))
    assert agent.value is not None
    drawn = [part.learner.parameters.flat.flatten() for part in (agent.value, agent.critic)]
    own, others = (values[values != 0.0] for values in drawn)
    assert len(own) and not torch.isin(own, others).any()
