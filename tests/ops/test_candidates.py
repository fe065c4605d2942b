"""Several candidates of one decision, and what acts of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from agent_cases import TINY

from gtp_fast.agents.gtp import GTP
from gtp_fast.agents.setup import Setup
from gtp_fast.errors import UserError
from gtp_fast.ops.candidates import choose


def test_the_mean_of_candidates_acts_without_a_critic() -> None:
    agent = GTP(replace(TINY, eta=(0.0,)), Setup(3, 2, (0, 1)))
    acting = agent.acting(num_candidates=3, candidate_rule="mean")
    alone = agent.acting(num_candidates=1).sampler
    states = torch.randn(2, 5, 3)
    noise = torch.randn(2, acting.sampler.draws, 5, 2)
    each = [alone.sample(states, noise[:, i].contiguous()) for i in range(3)]
    mean = torch.stack(each).mean(0)
    assert torch.allclose(acting.sampler.sample(states, noise), mean, atol=1e-6)
    assert not torch.allclose(mean, each[0], atol=1e-3)
    assert acting.rule == "mean" and "mean of 3 candidates" in acting.sampler.describe()
    with pytest.raises(UserError, match="--candidate-rule mean"):
        agent.acting(num_candidates=3)


def test_a_draw_beyond_the_quantile_of_a_share_chooses_the_next_candidate() -> None:
    # Shares 1/4 and 3/4: a normal number lies below -0.6745 with probability 1/4.
    score = torch.tensor([0.0, math.log(3.0)]).view(1, 2, 1).expand(1, 2, 4)
    draw = torch.tensor([[-0.68, -0.67, 0.0, 9.0]])
    assert choose(score, draw).tolist() == [[0, 1, 1, 1]]
    assert choose(score, draw, "argmax").tolist() == [[1, 1, 1, 1]]
