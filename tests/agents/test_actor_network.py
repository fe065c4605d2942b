"""The K steps of an actor with gradient: the values of the folded sampler, and their slopes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.networks.actor import ActorNetwork, Clock
from gtp_fast.reference import Plan

OBSERVATION, ACTION, ROWS = 3, 2, 4


def noisy_plan() -> Plan:
    """Return three steps, each with factors of its own, clipped and stochastic."""
    steps = [torch.linspace(low, high, 3).double() for low, high in ((0.9, 0.3), (-0.4, 0.5))]
    spread = torch.tensor([0.3, 0.2, 0.0], dtype=torch.float64)
    return Plan.of(
        torch.tensor([2.0, 1.0, 0.3], dtype=torch.float64),
        skip=steps[0], out=steps[1], keep=steps[1], gain=steps[0], spread=spread, clamp=True,
    )  # fmt: skip


def case(clock: Clock) -> tuple[ActorNetwork, dict[str, Tensor], Plan, Tensor, Tensor]:
    network = ActorNetwork(OBSERVATION, ACTION, 6, 2, reference.mlp, clock)
    made = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return 0.4 * torch.randn(shape, generator=made, dtype=torch.float64)

    views = {name: draw(2, *shape) for name, shape in network.shapes().items()}
    return network, views, noisy_plan(), draw(2, ROWS, OBSERVATION), draw(2, 3, ROWS, ACTION)


@pytest.mark.parametrize("clock", ["none", "scalar", "sinusoid"])
def test_the_steps_are_those_of_the_folded_policy(clock: Clock) -> None:
    network, views, plan, observation, noise = case(clock)
    action = network.sample(views, plan, observation, noise)
    folded = reference.folded_sample(network.fold(views, plan), observation, noise)
    assert torch.allclose(action, folded, rtol=1e-12, atol=1e-12)
    assert 0 < float((action.abs() < 1).double().mean()) <= 1


@pytest.mark.parametrize("clock", ["none", "scalar", "sinusoid"])
def test_the_gradient_reaches_every_parameter_through_every_step(clock: Clock) -> None:
    network, views, plan, observation, noise = case(clock)
    names = list(views)

    def sample(*values: Any) -> Tensor:
        return network.sample(dict(zip(names, values, strict=True)), plan, observation, noise)

    leaves = [views[name].requires_grad_() for name in names]
    assert torch.autograd.gradcheck(sample, leaves)
    gradients = torch.autograd.grad(sample(*leaves).sum(), leaves)
    assert all(bool(g.abs().sum() > 0) for g in gradients)
