"""Losses of the rivals by hand: their values, and whom their gradients reach."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gtp_fast import reference

Loss = Callable[[Tensor, Tensor], Tensor]


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("loss", "learns", "held", "value", "gradient"),
    [
        # Mean Q 2 over mean |Q'| 4, of which the mean Q' is 2.
        (lambda q, other: reference.guidance_loss(q[None], other[None]),
         (1.0, 3.0), (6.0, -2.0), -0.5, (-0.125, -0.125)),
        (lambda a, goal: reference.distillation_loss(a[None, :, None], goal[None, :, None]),
         (1.0, 3.0), (0.0, 5.0), 2.5, (1.0, -2.0)),
        # Weights 100 / (0.5 - 0.3) and 100 / (4 - 2).
        (lambda g, below: reference.neighbour_loss(
            g[None, :, None], below[None, :, None], torch.tensor([[0.5, 4.0]]).double(),
            torch.tensor([[0.3, 2.0]]).double()),
         (1.0, 3.0), (0.0, 5.0), 350.0, (500.0, -100.0)),
        (lambda v, q: reference.expectile_loss(v[None], q[None], 0.9),
         (1.0, 3.0), (3.0, 2.0), 1.85, (-1.8, 0.1)),
        (lambda x, g: reference.support_loss(
            x[None, :, None], torch.zeros(1, 4, 1).double(), g.view(1, 2, 2)),
         (1.0, 2.0, 3.0, 4.0), (0.75, 0.5, 0.25, 0.5), 6.5, (0.75, 1.0, 0.75, 2.0)),
    ],
    ids=["guidance", "distillation", "neighbours", "expectile", "support"],
)  # fmt: skip
def test_a_loss_teaches_its_first_argument_alone(
    loss: Loss, learns: tuple[float, ...], held: tuple[float, ...], value: float,
    gradient: tuple[float, ...],
) -> None:  # fmt: skip
    first, second = numbers(*learns), numbers(*held)
    found = loss(first, second)
    assert found.tolist() == pytest.approx([value])
    slopes = torch.autograd.grad(found.sum(), (first, second), allow_unused=True)
    assert slopes[0].tolist() == pytest.approx(gradient)
    assert slopes[1] is None


@pytest.mark.parametrize(
    ("normalised", "value", "slope"), [(False, -1.0, -0.25), (True, -0.5, -0.125)]
)
def test_the_scale_of_q_divides_its_term_and_its_gradient(
    normalised: bool, value: float, slope: float
) -> None:
    # Twins' means 3 and -1: their mean is 1 and the mean of their sizes 2.
    values = numbers(1.0, -3.0, 5.0, 1.0)
    found = reference.policy_value_loss(values.view(2, 1, 2), normalised)
    assert found.tolist() == [value]
    found.sum().backward()
    assert values.grad is not None and values.grad.tolist() == [slope] * 4
