"""The losses of the flow map in native code; closed forms: reference/test_losses.py."""

from __future__ import annotations

import pytest
import torch
from native_cases import draw, perturbed
from tolerance import assert_as_accurate

from gtp_fast import reference
from gtp_fast.ops import loss
from gtp_fast.system import native

pytestmark = pytest.mark.skipif(not native.available(), reason=native.missing())


@pytest.mark.parametrize("weight", [1.0, 1e4])
@pytest.mark.parametrize(("S", "B", "A", "N"), [(1, 1, 1, 2), (3, 63, 3, 11), (2, 257, 17, 1281)])
def test_loss(S: int, B: int, A: int, N: int, weight: float) -> None:
    a, student, teacher = torch.tanh(draw(2, S, B, A)), draw(3, S, 2 * B, A), draw(4, S, B, A)
    w = weight * draw(5, S, B).square()
    scale = draw(6, 2, S)
    results = []
    for function, dtype in (
        (loss.native_loss, torch.float32),
        (reference.flow_map_loss, torch.float32),
        (reference.flow_map_loss, torch.float64),
    ):
        p = perturbed(reference.perturb, a, N)
        p = type(p)(*(field.to(dtype) for field in p))
        leaf = student.to(dtype).requires_grad_()
        losses = function(leaf, teacher.to(dtype), a.to(dtype), p, w.to(dtype))
        (gradient,) = torch.autograd.grad((torch.stack(losses) * scale.to(dtype)).sum(), leaf)
        results.append([*(x.detach() for x in losses), gradient])
    for name, *values in zip(("consistency", "flow", "gradient"), *results, strict=True):
        assert_as_accurate(f"{name} {S, B, A, N}", *values)
