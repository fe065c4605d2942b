"""The Triton form of the advantage weights against the reference."""

from __future__ import annotations

import pytest
import torch
from tolerance import assert_as_accurate
from torch import Tensor
from triton_cases import DEVICE, normal, poisoned_outputs, pytestmark  # noqa: F401

from gtp_fast import reference


@pytest.mark.parametrize(
    ("S", "B", "M", "maximum"),
    [(1, 2, 1, 100.0), (2, 63, 3, 100.0), (1, 1025, 1, 1.5), (2, 63, 1, None), (2, 63, 1, 1.0)],
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


def test_a_nan_reaches_every_statistic() -> None:
    from gtp_fast.kernels.weigh import weigh

    values = normal(1, 1, 2, 2 * 63)
    values[0, 1, 40] = torch.nan
    assert all(field.isnan().any() for field in weigh(values, torch.ones(1).to(DEVICE), 63, 100.0))


def test_weigh_refuses_a_wrong_shape() -> None:
    from gtp_fast.kernels.weigh import weigh

    flat, two = torch.zeros(2, 9, device=DEVICE), torch.zeros(2, 2, 4, device=DEVICE)
    with pytest.raises(ValueError, match="2 twins"):
        weigh(two, flat[:, 0], 3)
