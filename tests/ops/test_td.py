"""Targets and TD loss of the twin critics: by hand, then the native form."""

from __future__ import annotations

import math

import pytest
import torch
from native_cases import draw, needs_native
from tolerance import assert_as_accurate

from gtp_fast import reference
from gtp_fast.ops import td, weigh


def test_target_takes_the_lesser_twin_and_the_mask() -> None:
    values = torch.tensor([[[1.0, 5.0, 2.0]], [[3.0, 4.0, 9.0]]])
    target = reference.td_target(
        torch.tensor([[10.0, 20.0, 30.0]]), torch.tensor([[1.0, 1.0, 0.0]]), values, 0.5
    )
    assert target.tolist() == [[10.5, 22.0, 30.0]]


def test_critic_loss_adds_the_twins_and_lets_no_gradient_into_its_target() -> None:
    values = torch.tensor([[[1.0, 2.0]], [[0.0, 4.0]]], requires_grad=True)
    target = torch.tensor([[3.0, 3.0]], requires_grad=True)
    loss = reference.double_q_loss(values, target)
    assert loss.tolist() == [pytest.approx((4 + 1) / 2 + (9 + 1) / 2)]
    gradients = torch.autograd.grad(loss.sum(), (values, target), allow_unused=True)
    assert gradients[0].tolist() == [[[-2.0, -1.0]], [[-3.0, 1.0]]]
    assert gradients[1] is None


@pytest.mark.parametrize(("mask", "expected"), [(0.0, (2.8, 2.0)), (1.0, (2.8 / 0.19, 2.9 / 0.19))])
def test_values_of_a_two_state_chain(mask: float, expected: tuple[float, float]) -> None:
    # A pays 1 and leads to B; B pays 2 and ends (mask 0), or is cut by a time-out and leads to A.
    reward, masks = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, mask]])
    values = torch.zeros(2, 1, 2, requires_grad=True)
    for _ in range(500):
        target = reference.td_target(reward, masks, values.detach().flip(2), 0.9)
        (gradient,) = torch.autograd.grad(reference.double_q_loss(values, target).sum(), values)
        values.data -= 0.5 * gradient
    for twin in values.detach():
        assert twin[0].tolist() == pytest.approx(expected, rel=1e-4)


def test_td_loss_backs_up_the_best_of_several_next_actions() -> None:
    # The twins' best next values are 5 and 4 of the first row, 1 and 2 of the second:
    # the targets are 1 + 0.5 * 4 = 3 and 1.5.
    values = torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]]], dtype=torch.float64)
    following = torch.tensor([[[3.0, 0.0, 5.0, 1.0]], [[4.0, 2.0, 1.0, -1.0]]]).double()
    one = torch.ones(1, 2, dtype=torch.float64)
    assert reference.td_loss(values, following, one, one, 0.5).tolist() == [4.75]
    assert reference.td_loss(values, following, one, 0 * one, 0.5).tolist() == [1.5]


@needs_native
@pytest.mark.parametrize(("S", "B", "m"), [(1, 1, 1), (2, 63, 3), (3, 257, 1)])
def test_td_loss(S: int, B: int, m: int) -> None:
    values, following, packed = draw(0, 2, S, B), draw(1, 2, S, m * B), draw(2, S, B, 2)
    reward, mask, scale, results = packed[..., 0], (packed[..., 1] > 0).float(), draw(3, S), []
    for function, dtype in (
        (td.native_td_loss, torch.float32),
        (reference.td_loss, torch.float32),
        (reference.td_loss, torch.float64),
    ):
        leaf = values.to(dtype).requires_grad_()
        loss = function(leaf, *(x.to(dtype) for x in (following, reward, mask)), 0.99)
        (gradient,) = torch.autograd.grad((loss * scale.to(dtype)).sum(), leaf)
        results.append((loss.detach(), gradient))
    for name, *compared in zip(("loss", "gradient"), *results, strict=True):
        assert_as_accurate(f"{name} {S, B, m}", *compared)


@needs_native
@pytest.mark.parametrize("twin", [0, 1])
def test_a_nan_reaches_loss_and_weights_of_its_own_seed_alone(twin: int) -> None:
    values, one = draw(5, 2, 2, 6), torch.ones(2, 3)
    values[twin, 1, 4] = math.nan
    for following in (values, values.flip(2)):
        loss = td.native_td_loss(values[..., :3], following, one[:1].expand(2, 3), one, 0.9)
        assert torch.isfinite(loss).tolist() == [True, False]
    for name, x in zip("wqsml", weigh.native_weigh(values, one[:, 0], 3, 100.0), strict=True):
        assert torch.isfinite(x[0]).all() and (name == "q" or torch.isnan(x[1]).all()), name
