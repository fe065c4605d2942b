"""Parity of the kernels between the passes of an update; runs as test_kernels.py."""

from __future__ import annotations

import math

import pytest
import torch
from tolerance import assert_as_accurate
from torch import Tensor

pytest.importorskip("triton")

from test_kernels import (  # noqa: F401
    DEVICE,
    STEP,
    generator,
    poisoned_outputs,
    pytestmark,
    seeds,
)
from test_kernels_mlp import split

from gtp_fast import reference
from gtp_fast.reference import philox
from gtp_fast.reference.adam import plain
from gtp_fast.reference.philox import Stream


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed)).to(DEVICE)


class AdamCase:
    """Buffers of some updates in; every seed lies inside a longer row."""

    def __init__(self, S: int = 2, P: int = 1500) -> None:
        wide = [normal(i, S, P + 5) for i in range(5)]
        wide[3] = wide[3].square()
        self.buffers = [x[:, 2 : P + 2] for x in wide]
        self.rate = torch.linspace(1e-3, 1e-2, S).to(DEVICE)

    def fast(
        self, updates: int | Tensor, ema_rate: float | Tensor = 0.005, **options: object
    ) -> list[Tensor]:
        from gtp_fast.kernels.adam import adam

        buffers = [x.clone() for x in self.buffers]
        norm = adam(*buffers, updates, self.rate, ema_rate, **options)
        read = [x[1].nan_to_num() for x in (buffers, self.buffers)]
        assert torch.equal(*read), "the gradient is only read"
        return [norm, *buffers]

    def reference(
        self, dtype: torch.dtype, updates: int, max_norm: float | None = None, factor: float = 1.0
    ) -> list[Tensor]:
        w, g, m, v, average = (x.to(dtype) for x in self.buffers)
        learning = torch.zeros(len(w), dtype=torch.bool, device=DEVICE)
        rate = self.rate.to(dtype) * factor
        buffers = [x.clone() for x in (w, g, m, v, average)]
        norm = plain(*buffers, updates, rate, 0.005, max_norm, learning)
        # The definition clips the gradient in place; the kernel only reads it.
        return [norm, buffers[0], g, *buffers[2:]]

    def check(self, updates: int, factor: float = 1.0, **options: object) -> None:
        names = ("norm", "parameter", "gradient", "first", "second", "average")
        max_norm = options.get("max_norm")
        plain, exact = (
            self.reference(dtype, updates, max_norm, factor)
            for dtype in (torch.float32, torch.float64)
        )
        for name, *values in zip(names, self.fast(updates, **options), plain, exact, strict=True):
            assert_as_accurate(name, *values)


@pytest.mark.parametrize("updates", [1, 2, 100, 1_000_000])
def test_adam_matches_the_reference(updates: int) -> None:
    AdamCase().check(updates, max_norm=7.0)
    AdamCase(1, 3).check(updates)


@pytest.mark.parametrize("updates", [1, 6, 10])
def test_adam_lets_the_rate_fall_along_a_cosine(updates: int) -> None:
    factor = 0.5 * (1 + math.cos(math.pi * (updates - 1) / 10))
    AdamCase(1, 40).check(updates, factor, decay_over=10)


def test_adam_reads_its_scalars_from_the_device_and_gives_a_seed_alone_the_same_bits() -> None:
    case, step = AdamCase(3, 1100), torch.tensor(7, dtype=torch.int64, device=DEVICE)
    together = case.fast(7, max_norm=7.0)
    rate = torch.tensor(0.005, device=DEVICE)
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


@pytest.mark.parametrize(("S", "B", "M"), [(1, 1, 1), (2, 63, 3), (1, 1025, 1)])
def test_td_matches_the_reference(S: int, B: int, M: int) -> None:
    from gtp_fast.kernels.td import td_loss

    values, following = normal(1, S, 2, B), normal(2, S, 2, M * B)
    packed = normal(3, S, B, 5)
    reward, mask = packed[..., 1], (packed[..., 3] > 0).float()
    loss, gradient = td_loss(values, following, reward, mask, 0.99)

    def definition(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        q = values.to(dtype).requires_grad_()
        best = following.to(dtype).reshape(S, 2, M, B).amax(2).transpose(0, 1)
        target = reference.td_target(reward.to(dtype), mask.to(dtype), best, 0.99)
        result = reference.double_q_loss(q.transpose(0, 1), target)
        return result.detach(), torch.autograd.grad(result.sum(), q)[0]

    plain, exact = definition(torch.float32), definition(torch.float64)
    assert_as_accurate("loss", loss, plain[0], exact[0])
    assert_as_accurate("gradient", gradient, plain[1], exact[1])
    again = td_loss(values, following, reward, mask, 0.99)
    assert torch.equal(loss, again[0])


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


def test_a_value_that_is_not_a_number_reaches_loss_and_weights() -> None:
    from gtp_fast.kernels.td import td_loss
    from gtp_fast.kernels.weigh import weigh

    values, zeros = normal(1, 2, 2, 8), torch.zeros(2, 4, device=DEVICE)
    values[0, 1, 5] = torch.nan
    loss, _ = td_loss(values[..., :4].contiguous(), values[..., 4:], zeros, zeros + 1, 0.99)
    assert loss.isnan().tolist() == [True, False]
    assert weigh(values, torch.ones(2, device=DEVICE), 4).mean.isnan().tolist() == [True, False]


@pytest.mark.parametrize("by_lots", [False, True])
@pytest.mark.parametrize(("S", "B", "O", "A"), [(1, 1, 1, 1), (2, 63, 11, 3), (1, 257, 29, 8)])
def test_gather_draws_and_copies_as_the_definition_does(
    S: int, B: int, O: int, A: int, by_lots: bool,  # noqa: E741
) -> None:  # fmt: skip
    from gtp_fast.kernels.gather import gather

    table = normal(1, 1000, 2 * O + A + 2)
    step = torch.tensor(STEP, dtype=torch.int64, device=DEVICE)
    weights = (1e3 * (2 * normal(2, 1000)).exp()).ceil().long()
    lots = reference.alias_table(weights) if by_lots else None
    fields = gather(table, O, A, seeds(S), step, Stream.BATCH, B, lots)
    drawn = (seeds(S), STEP, Stream.BATCH, B)
    rows = table[philox.integers(*drawn, 1000) if lots is None else philox.lots(*drawn, lots)]
    expected = (rows[..., :O], rows[..., O : O + A], rows[..., O + A], rows[..., O + A + 1 : -1], rows[..., -1])  # fmt: skip  # noqa: E501
    for one, other in zip(fields, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("columns", [1, 6, 17])
def test_draws_match_the_definition(columns: int) -> None:
    from gtp_fast.kernels.philox import integers, normals

    step = torch.tensor(STEP, dtype=torch.int64, device=DEVICE)
    fast = normals(seeds(2), step, Stream.VALUE, 70, columns)
    plain, exact = (
        philox.normals(seeds(2), STEP, Stream.VALUE, 70, columns, dtype)
        for dtype in (torch.float32, torch.float64)
    )
    assert_as_accurate("normals", fast, plain, exact)
    drawn = integers(seeds(2), STEP, Stream.VALUE, 600, 12_345)
    assert torch.equal(drawn, philox.integers(seeds(2), STEP, Stream.VALUE, 600, 12_345))


@pytest.mark.parametrize(("S", "B"), [(1, 1), (2, 150)])
def test_embeddings_and_their_gradients_match_the_reference(S: int, B: int) -> None:
    from gtp_fast.kernels.embed import embed, embed_backward

    shapes = [(16, 32), (32,), (32, 16), (16,)] * 2
    flat = 0.25 * normal(1, S, 2144 + 7)[:, :2144]
    parameters = split(flat, shapes)
    # Every time from the smallest to one beyond the largest in use, where sines turn fastest.
    levels = torch.linspace(0.25 * math.log(0.002), 0.25 * math.log(1000), S * B * 2)
    levels = levels[torch.randperm(S * B * 2, generator=generator(2))].view(S, B, 2).to(DEVICE)
    upstream = normal(3, S, B, 32)
    fast = embed(levels, parameters)
    written = split(torch.full_like(flat, torch.nan), shapes)
    embed_backward(upstream, levels, parameters, written)

    def definition(dtype: torch.dtype) -> list[Tensor]:
        leaves = [p.to(dtype).requires_grad_() for p in parameters]
        sines = reference.sinusoid(levels.to(dtype), 16)
        clocks = [
            reference.mlp(
                sines[:, :, i], leaves[4 * i : 4 * i + 4 : 2], leaves[4 * i + 1 : 4 * i + 4 : 2]
            )
            for i in range(2)
        ]
        y = torch.cat(clocks, -1)
        return [y.detach(), *torch.autograd.grad(y, leaves, upstream.to(dtype))]

    plain, exact = definition(torch.float32), definition(torch.float64)
    for i, three in enumerate(zip((fast, *written), plain, exact, strict=True)):
        assert_as_accurate(f"embedding, result {i}", *three)
