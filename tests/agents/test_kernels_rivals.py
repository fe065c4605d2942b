"""Rivals and fitted Q evaluation by Triton's single operations, recorded where there is a GPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tolerance import assert_as_accurate
from torch import Tensor

pytest.importorskip("triton")
pytest.importorskip("gymnasium", reason="the agent's data package needs gymnasium")

from agent_cases import synthetic_table, tiny
from triton_cases import DEVICE, INTERPRETED, pytestmark  # noqa: F401

from gtp_fast import agents, engine
from gtp_fast.agents.base import Agent
from gtp_fast.agents.fqe import FQE, FQEConfig
from gtp_fast.agents.setup import Setup
from gtp_fast.engine.loop import Captured, Eager, cuda_record, cuda_warm
from gtp_fast.reference import adam

Make = Callable[..., Agent]
# As many as are run unrecorded, a recording of two, and one of one.
UPDATES = 1 if INTERPRETED else Captured.WARM + 3
# One seed's largest number may be right by luck.
SEEDS = tuple(range(3, 9))


def rival(name: str) -> Make:
    def make(backend: str, dtype: torch.dtype) -> Agent:
        config = tiny(name, behaviour_fraction=0.0, warmup_fraction=0.0)
        return agents.find(name)(config, Setup(3, 2, SEEDS, DEVICE, backend, dtype))

    return make


def evaluation(backend: str, dtype: torch.dtype) -> Agent:
    """Return critics of frozen policies, one for each seed instead of twins."""
    setup = Setup(3, 2, SEEDS, DEVICE, backend, dtype)
    policies = agents.find("bc")(tiny("bc"), setup).acting().sampler
    config = FQEConfig(width=8, depth=2, batch_size=16)
    return FQE(config, setup, policies, shift=1.0, scale=2.0)


def trained(made: Agent) -> dict[str, Tensor]:
    """Return first moments, which are sums of gradients, and sums of metrics [S, n]."""
    table, watch = synthetic_table().to(DEVICE), engine.Watch(made)
    made.prepare(10)
    records = not INTERPRETED and made.dtype == torch.float32
    chosen = (
        Captured(made, table, watch, cuda_record, cuda_warm, 2)
        if records
        else Eager(made, table, watch)
    )
    engine.run(chosen, made, 0, UPDATES, (), lambda done: None, lambda: 0)
    kept = {k: x.clone() for k, x in made.state_dict().items() if k.endswith("adam_first")}
    return kept | {"metrics": watch.total.T.clone()}


CASES = {name: rival(name) for name in agents.REGISTRY if name != "gtp"} | {"fqe": evaluation}
# The interpreter takes a minute for a chain of steps; these have every operation.
CASES = {name: CASES[name] for name in ("bc", "iql", "fql", "fqe")} if INTERPRETED else CASES


@pytest.mark.parametrize("name", CASES)
def test_an_agents_updates_are_those_of_the_reference(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Adam's step by a gradient as small as its rounding has either sign, whoever computes it.
    monkeypatch.setattr(adam, "EPSILON", 1e-4)
    forms = (("auto", torch.float32), ("reference", torch.float32), ("reference", torch.float64))
    runs = [CASES[name](*form) for form in forms]
    assert runs[0].ops.forms["mlp"].name == "triton"
    one, plain, exact = map(trained, runs)
    for key, value in one.items():
        assert_as_accurate(key, value, plain[key], exact[key])
