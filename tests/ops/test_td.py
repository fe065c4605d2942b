"""The TD loss in native code; its closed form is in reference/test_losses.py."""

from __future__ import annotations

import math

import pytest
import torch
from native_cases import draw
from tolerance import assert_as_accurate

from gtp_fast import reference
from gtp_fast.ops import td, weigh
from gtp_fast.system import native

pytestmark = pytest.mark.skipif(not native.available(), reason=native.missing())


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


@pytest.mark.parametrize("twin", [0, 1])
def test_a_nan_reaches_loss_and_weights_of_its_own_seed_alone(twin: int) -> None:
    values, one = draw(5, 2, 2, 6), torch.ones(2, 3)
    values[twin, 1, 4] = math.nan
    for following in (values, values.flip(2)):
        loss = td.native_td_loss(values[..., :3], following, one[:1].expand(2, 3), one, 0.9)
        assert torch.isfinite(loss).tolist() == [True, False]
    for name, x in zip("wqsml", weigh.native_weigh(values, one[:, 0], 3, 100.0), strict=True):
        assert torch.isfinite(x[0]).all() and (name == "q" or torch.isnan(x[1]).all()), name
