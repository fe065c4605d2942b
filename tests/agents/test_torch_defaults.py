"""Updates and policies do not depend on PyTorch's default type and device.

Native code writes float32 on the CPU by address: into memory of another default it wrote garbage,
or beyond its end.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from agent_cases import make, synthetic_table, tiny
from torch_defaults import other_defaults

from gtp_fast import agents
from gtp_fast.agents.gtp import GTP, update


def trained(name: str, backend: str, by_operations: bool, defaults: Any) -> dict[str, torch.Tensor]:
    table = synthetic_table(length=8)
    with defaults:
        pieces = {"trajectory_eta": 2.0, "trajectory_piece": 3} if by_operations else {}
        agent = make(name, (0, 1), tiny(name, **pieces), backend=backend)
        agent.prepare(3)
        table = agent.drawn_from(table)
        if by_operations:
            assert isinstance(agent, GTP)
            agent.do = update.build(agent)
        metrics = [agent.update(table, step) for step in range(3)]
    return agent.state_dict() | {"metrics": torch.stack(metrics)}


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(
    ("name", "by_operations"), [*((name, False) for name in agents.REGISTRY), ("gtp", True)]
)
def test_other_defaults_of_pytorch_change_no_bit(
    name: str, by_operations: bool, backend: str
) -> None:
    wanted = trained(name, backend, by_operations, nullcontext())
    found = trained(name, backend, by_operations, other_defaults())
    for key, value in wanted.items():
        assert found[key].dtype == value.dtype and torch.equal(found[key], value), key
