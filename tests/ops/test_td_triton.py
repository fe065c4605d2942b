"""The Triton form of the TD loss against the reference."""

from __future__ import annotations

import pytest
import torch
from tolerance import assert_as_accurate
from torch import Tensor
from triton_cases import DEVICE, normal, poisoned_outputs, pytestmark  # noqa: F401

from gtp_fast import reference


# One critic instead of twins is what fitted Q evaluation trains.
@pytest.mark.parametrize(
    ("S", "T", "B", "M"),
    [(1, 2, 1, 1), (2, 2, 63, 3), (1, 2, 1025, 1), (1, 1, 1, 1), (2, 1, 63, 3), (3, 1, 1025, 1)],
)
def test_td_matches_the_reference(S: int, T: int, B: int, M: int) -> None:
    from gtp_fast.kernels.td import td_loss

    values, following = normal(1, S, T, B), normal(2, S, T, M * B)
    packed = normal(3, S, B, 5)
    reward, mask = packed[..., 1], (packed[..., 3] > 0).float()
    loss, gradient = td_loss(values, following, reward, mask, 0.99)

    def definition(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        q = values.to(dtype).requires_grad_()
        best = following.to(dtype).reshape(S, T, M, B).amax(2).transpose(0, 1)
        target = reference.td_target(reward.to(dtype), mask.to(dtype), best, 0.99)
        result = reference.double_q_loss(q.transpose(0, 1), target)
        return result.detach(), torch.autograd.grad(result.sum(), q)[0]

    plain, exact = definition(torch.float32), definition(torch.float64)
    assert_as_accurate("loss", loss, plain[0], exact[0])
    assert_as_accurate("gradient", gradient, plain[1], exact[1])
    again = td_loss(values, following, reward, mask, 0.99)
    assert torch.equal(loss, again[0])


def test_a_value_that_is_not_a_number_reaches_loss_and_weights() -> None:
    from gtp_fast.kernels.td import td_loss
    from gtp_fast.kernels.weigh import weigh

    values, zeros = normal(1, 2, 2, 8), torch.zeros(2, 4, device=DEVICE)
    values[0, 1, 5] = torch.nan
    loss, _ = td_loss(values[..., :4].contiguous(), values[..., 4:], zeros, zeros + 1, 0.99)
    assert loss.isnan().tolist() == [True, False]
    # Of several next actions too, in either twin.
    for twin in (0, 1):
        following = normal(2, 2, 2, 8)
        following[0, twin, 5] = torch.nan
        loss, _ = td_loss(torch.zeros(2, 2, 4, device=DEVICE), following, zeros, zeros + 1, 0.99)
        assert loss.isnan().tolist() == [True, False]
    assert weigh(values, torch.ones(2, device=DEVICE), 4).mean.isnan().tolist() == [True, False]


def test_td_refuses_a_wrong_shape() -> None:
    from gtp_fast.kernels.td import td_loss

    flat, two = torch.zeros(2, 9, device=DEVICE), torch.zeros(2, 2, 4, device=DEVICE)
    with pytest.raises(ValueError, match=r"must be \[2, 4\]"):
        td_loss(two, two, flat, flat, 0.9)
    row = torch.zeros(2, 4, device=DEVICE)
    for other in (two[:, :1], torch.zeros(2, 2, 6, device=DEVICE)):
        with pytest.raises(ValueError, match="do not fit"):
            td_loss(two, other, row, row, 0.9)
    with pytest.raises(ValueError, match="do not fit"):
        td_loss(torch.zeros(2, 3, 4, device=DEVICE), two, row, row, 0.9)
