"""The advantage weights in native code; closed forms: reference/test_losses.py."""

from __future__ import annotations

import pytest
import torch
from native_cases import draw
from tolerance import assert_as_accurate

from gtp_fast import reference
from gtp_fast.ops import weigh
from gtp_fast.system import native

pytestmark = pytest.mark.skipif(not native.available(), reason=native.missing())


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
