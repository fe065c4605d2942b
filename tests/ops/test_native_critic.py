"""The TD loss, the advantage weights and the drawing of a batch in native code on the CPU."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from agent_cases import synthetic_table
from test_native_losses import STEP, draw, keys
from tolerance import assert_as_accurate

from gtp_fast import ops, reference
from gtp_fast.ops import gather as ops_gather
from gtp_fast.ops import td, weigh
from gtp_fast.reference import philox
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


@pytest.mark.parametrize("maximum", [100.0, 1.5, None])
@pytest.mark.parametrize(("S", "B", "m"), [(1, 2, 1), (2, 63, 3), (3, 257, 1)])
def test_weights(S: int, B: int, m: int, maximum: float | None) -> None:
    values, eta = 30 * draw(4, 2, S, (1 + m) * B), torch.tensor([1.0, 0.0, 2.5][:S])
    fast = weigh.native_weigh(values, eta, B, maximum)
    plain = reference.weigh(values, eta, B, maximum)
    exact = reference.weigh(values.double(), eta.double(), B, maximum)
    for name, *compared in zip(
        ("w", "q", "spread", "mean", "largest"), fast, plain, exact, strict=True
    ):
        assert_as_accurate(f"{name} {S, B, m, maximum}", *compared)


@pytest.mark.parametrize("twin", [0, 1])
def test_a_nan_reaches_loss_and_weights_of_its_own_seed_alone(twin: int) -> None:
    values, one = draw(5, 2, 2, 6), torch.ones(2, 3)
    values[twin, 1, 4] = math.nan
    for following in (values, values.flip(2)):
        loss = td.native_td_loss(values[..., :3], following, one[:1].expand(2, 3), one, 0.9)
        assert torch.isfinite(loss).tolist() == [True, False]
    for name, x in zip("wqsml", weigh.native_weigh(values, one[:, 0], 3, 100.0), strict=True):
        assert torch.isfinite(x[0]).all() and (name == "q" or torch.isnan(x[1]).all()), name


@pytest.mark.parametrize("by_lots", [False, True])
def test_a_batch_is_the_rows_that_the_reference_draws(by_lots: bool) -> None:
    table = synthetic_table()
    lots = reference.alias_table((1e3 * (2 * draw(6, 64)).exp()).ceil().long())
    table = replace(table, lots=lots if by_lots else None)
    plain = ops.resolve("reference").gather(table, keys(3), STEP, 0, 37)
    for fast, field in zip(
        ops_gather.native_gather(table, keys(3), STEP, 0, 37), plain, strict=True
    ):
        assert torch.equal(fast, field) and fast.is_contiguous()
    if by_lots:
        rows = table.rows[philox.lots(keys(3), STEP, 0, 37, lots)]
        assert torch.equal(torch.cat([x.view(3, 37, -1) for x in plain], -1), rows)
    strided = replace(table, rows=table.rows.repeat(1, 2)[:, ::2])
    with pytest.raises(ValueError, match="must be contiguous float32"):
        ops_gather.native_gather(strided, keys(1), 0, 0, 4)
    for wrong in (lots[1:], lots.int(), lots.repeat(2)[::2]):
        with pytest.raises(ValueError, match="the lots must be 64 contiguous int64"):
            ops_gather.native_gather(replace(table, lots=wrong), keys(1), 0, 0, 4)
