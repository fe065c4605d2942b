"""The advantage weights in Triton; test_kernels_offline.py runs it under the interpreter."""

from __future__ import annotations

import pytest
import torch
from tolerance import assert_as_accurate
from torch import Tensor

pytest.importorskip("triton")
from triton_cases import (  # noqa: F401
    DEVICE,
    STEP,
    generator,
    poisoned_outputs,
    pytestmark,
    seeds,
)

from gtp_fast import reference


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed)).to(DEVICE)


@pytest.mark.parametrize(
    ("S", "B", "M", "maximum"),
    [(1, 2, 1, 100.0), (2, 63, 3, 100.0), (1, 1025, 1, 1.5), (2, 63, 1, None)],
)
def test_weights_match_the_reference(S: int, B: int, M: int, maximum: float | None) -> None:
    from gtp_fast.kernels.weigh import weigh

    values = normal(1, S, 2, (1 + M) * B)
    if maximum == 1.5:
        # A large mean: what a single pass over the squares would lose.
        values[..., :B] += 300
    eta = torch.linspace(0.5, 2, S).to(DEVICE)
    fast = weigh(values, eta, B, maximum)

    def definition(dtype: torch.dtype) -> tuple[Tensor, ...]:
        q = values.to(dtype).amin(1)
        advantage = q[:, :B] - q[:, B:].reshape(S, M, B).mean(1)
        w = reference.advantage_weights(advantage, eta.to(dtype), maximum=maximum)
        spread = advantage.std(1, correction=0)
        return w, q[:, :B].mean(1), spread, w.mean(1), w.amax(1)

    plain, exact = definition(torch.float32), definition(torch.float64)
    for name, *three in zip(fast._fields, fast, plain, exact, strict=True):
        assert_as_accurate(name, *three)
    alone = weigh(values[:1], eta[:1], B, maximum)
    for one, other in zip(fast, alone, strict=True):
        assert torch.equal(one[:1], other)
