"""The Triton form of Adam's step and of the moving average against the reference."""

from __future__ import annotations

import math

import pytest
import torch
from tolerance import assert_as_accurate
from torch import Tensor
from triton_cases import DEVICE, normal, poisoned_outputs, pytestmark  # noqa: F401

from gtp_fast.reference.adam import plain


class AdamCase:
    """Buffers of some updates in; every seed lies inside a longer row."""

    def __init__(self, S: int = 2, P: int = 1500, scale: float = 1.0) -> None:
        wide = [normal(i, S, P + 5) for i in range(5)]
        wide[1:4] = (scale * x for x in wide[1:4])
        wide[3] = wide[3].square()
        self.buffers = [x[:, 2 : P + 2] for x in wide]
        self.rate = torch.linspace(1e-3, 1e-2, S).to(DEVICE)

    def fast(
        self, updates: int | Tensor, ema_rate: float | Tensor = 0.01, **options: object
    ) -> list[Tensor]:
        from gtp_fast.kernels.adam import adam

        buffers = [x.clone() for x in self.buffers]
        norm = adam(*buffers, updates, self.rate, ema_rate, **options)
        read = [x[1].nan_to_num() for x in (buffers, self.buffers)]
        assert torch.equal(*read), "the gradient is only read"
        return [norm, *buffers]

    def reference(
        self,
        dtype: torch.dtype,
        updates: int,
        max_norm: float | None = None,
        factor: float = 1.0,
        weight_decay: float = 0.0,
    ) -> list[Tensor]:
        w, g, m, v, average = (x.to(dtype) for x in self.buffers)
        learning = torch.zeros(len(w), dtype=torch.bool, device=DEVICE)
        rate = self.rate.to(dtype) * factor
        buffers = [x.clone() for x in (w, g, m, v, average)]
        norm = plain(*buffers, updates, rate, 0.01, max_norm, learning, weight_decay)
        # The definition clips the gradient in place; the kernel only reads it.
        return [norm, buffers[0], g, *buffers[2:]]

    def check(self, updates: int, factor: float = 1.0, **options: object) -> None:
        names = ("norm", "parameter", "gradient", "first", "second", "average")
        given = options.get("max_norm"), factor, options.get("weight_decay", 0.0)
        plain, exact = (
            self.reference(dtype, updates, *given) for dtype in (torch.float32, torch.float64)
        )
        for name, *values in zip(names, self.fast(updates, **options), plain, exact, strict=True):
            assert_as_accurate(name, *values)


@pytest.mark.parametrize("updates", [1, 2, 100, 1_000_000])
def test_adam_matches_the_reference(updates: int) -> None:
    AdamCase().check(updates, max_norm=7.0)
    # With a norm so small that the 1e-6 in the clip counts.
    AdamCase(scale=1e-5).check(updates, max_norm=1e-4)
    AdamCase(1, 3).check(updates)
    AdamCase().check(updates, weight_decay=5.0)


@pytest.mark.parametrize("updates", [1, 6, 10])
def test_adam_lets_the_rate_fall_along_a_cosine(updates: int) -> None:
    factor = 0.5 * (1 + math.cos(math.pi * (updates - 1) / 10))
    AdamCase(1, 40).check(updates, factor, decay_over=10, weight_decay=5.0)


def test_adam_reads_its_scalars_from_the_device_and_gives_a_seed_alone_the_same_bits() -> None:
    case, step = AdamCase(3, 1100), torch.tensor(7, dtype=torch.int64, device=DEVICE)
    together = case.fast(7, max_norm=7.0)
    rate = torch.tensor(0.01, device=DEVICE)
    for one, other in zip(together, case.fast(step, rate, max_norm=7.0), strict=True):
        assert torch.equal(one, other)
    case.buffers, case.rate = [x[1:2] for x in case.buffers], case.rate[1:2]
    for one, other in zip(together, case.fast(7, max_norm=7.0), strict=True):
        assert torch.equal(one[1:2], other)


def test_adam_leaves_a_frozen_seed_and_one_without_a_finite_norm_as_they_are() -> None:
    case = AdamCase(3, 40)
    case.buffers[1] = case.buffers[1].clone()
    case.buffers[1][2, 5] = torch.nan
    frozen = torch.tensor([True, False, False], device=DEVICE)
    _, w, _, *rest = case.fast(3, frozen=frozen)
    free = case.fast(3)
    assert torch.equal(w[1], free[1][1])
    assert not torch.equal(w[1], case.buffers[0][1])
    for k in (0, 2):
        for new, old in zip((w, *rest), (case.buffers[0], *case.buffers[2:]), strict=True):
            assert torch.equal(new[k], old[k])


def test_adam_refuses_a_wrong_shape() -> None:
    from gtp_fast.kernels.adam import adam

    flat = torch.zeros(2, 9, device=DEVICE)
    with pytest.raises(ValueError, match="every buffer"):
        adam(*(flat,) * 4, flat[:, 1:], 1, flat[:, 0], 0.1)
