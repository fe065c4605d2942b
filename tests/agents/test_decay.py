"""Learning rates that fall along a cosine: their values, of whole numbers and of tensors."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from agent_cases import TINY, build


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
