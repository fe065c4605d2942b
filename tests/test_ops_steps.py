"""Steps whose gradient native code writes itself, against autograd over the same operations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from agent_cases import TINY, synthetic_table

from gtp_fast import native
from gtp_fast.agents.gtp import GTP

pytestmark = pytest.mark.skipif(not native.available(), reason=native.missing())


def trained(by_autograd: bool, **settings) -> dict[str, torch.Tensor]:
    config = replace(TINY, eta=(1.0, 2.0), max_gradient_norm=1.0, **settings)
    agent = GTP(config, 3, 2, (3, 5), "cpu", "fused")
    agent.prepare(10)
    assert agent.ops.td_step is not None and agent.ops.flow_map_step is not None
    if by_autograd:
        agent.ops = replace(agent.ops, td_step=None, flow_map_step=None)
    metrics = [agent.update(synthetic_table(), step) for step in range(5)]
    return agent.state_dict() | {"metrics": torch.stack(metrics)}


@pytest.mark.parametrize(
    "settings",
    [{}, {"max_q_backup": 2, "value_samples": 3}, {"lambda_flow": (0.3, 2.0), "depth": 1}],
    ids=["plain", "several actions", "shares"],
)
def test_the_bits_are_those_of_autograd(settings) -> None:
    own, plain = trained(False, **settings), trained(True, **settings)
    for name, value in own.items():
        assert torch.equal(value, plain[name]), name
