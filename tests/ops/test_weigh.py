"""Advantage weights: the closed form, where it must stop, the native form."""

from __future__ import annotations

import math

import pytest
import torch
from native_cases import draw, needs_native
from reference_cases import noise
from tolerance import assert_as_accurate

from gtp_fast import reference
from gtp_fast.ops import weigh


def advantages() -> torch.Tensor:
    return noise(3, 64, 1, step=9)[..., 0] * torch.tensor([[0.01], [1.0], [50.0]])


def test_no_guidance_weighs_every_row_one() -> None:
    assert torch.equal(
        reference.advantage_weights(advantages(), 0.0), torch.ones(3, 64, dtype=torch.float64)
    )


@pytest.mark.parametrize("maximum", [100.0, None])
def test_weights_are_the_exponential_of_the_positive_advantage(maximum: float | None) -> None:
    a = advantages()
    w = reference.advantage_weights(a, 1.5, maximum=maximum)
    for seed in range(3):
        values = a[seed].tolist()
        mean = sum(values) / 64
        std = math.sqrt(sum((v - mean) ** 2 for v in values) / 64)
        hand = [math.exp(1.5 * max(0.0, v) / (std + 1e-6)) for v in values]
        assert w[seed].tolist() == pytest.approx([min(x, maximum or x) for x in hand])
    assert (w >= 1).all()
    assert (w[a < 0] == 1).all()
    assert (w[a > 0] > 1).all()


def test_weights_do_not_feel_the_scale_of_the_advantage() -> None:
    a = advantages()[1:]
    for factor in (0.1, 30.0):
        scaled = reference.advantage_weights(factor * a, 1.0)
        assert torch.allclose(scaled, reference.advantage_weights(a, 1.0), rtol=1e-4)


def test_one_strength_for_each_seed() -> None:
    a = advantages()
    etas = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    w = reference.advantage_weights(a, etas)
    for seed, eta in enumerate(etas.tolist()):
        alone = reference.advantage_weights(a[seed : seed + 1], eta)
        assert torch.allclose(w[seed : seed + 1], alone, rtol=1e-13)


def test_weights_survive_hopeless_advantages() -> None:
    equal = torch.full((1, 8), 3.0)
    # No spread: the exponent is 3 / 1e-6 and only the clamp keeps it finite.
    assert reference.advantage_weights(equal, 1.0).tolist() == [[pytest.approx(100.0)] * 8]
    assert reference.advantage_weights(-equal, 1.0).tolist() == [[1.0] * 8]
    assert reference.advantage_weights(0 * equal, 5.0).tolist() == [[1.0] * 8]
    assert torch.isinf(reference.advantage_weights(equal, 1.0, maximum=None)).all()
    one = reference.advantage_weights(torch.tensor([[2.0]]), 1.0)
    assert torch.isfinite(one).all()


def test_weigh_takes_the_lesser_twin_and_the_mean_of_policy_actions() -> None:
    twin = torch.tensor([2.0, 4.0, 0.0, 1.0, 2.0, -1.0], dtype=torch.float64)
    other = torch.tensor([3.0, 3.0, 5.0, 5.0, 5.0, 5.0], dtype=torch.float64)
    # Q is 2 and 3, V is (0 + 2) / 2 = 1 and (1 - 1) / 2 = 0: A is 1 and 3.
    values = torch.stack((twin, other))[:, None]
    w, q, spread, mean, largest = reference.weigh(values, torch.ones(1), 2, maximum=None)
    expected = torch.exp(torch.tensor([1.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(w[0], expected, rtol=1e-5, atol=0)
    assert (q.item(), spread.item()) == (2.5, 1.0)
    torch.testing.assert_close(torch.cat((mean, largest)), torch.stack((w.mean(), w.max())))


@needs_native
def test_one_row_has_no_deviation() -> None:
    # Q is 3 and V 1, then the other way round.
    for advantage, weight in ((2.0, 20.0), (-2.0, 1.0)):
        values = torch.tensor([2 + advantage / 2, 2 - advantage / 2]).expand(2, 1, 2)
        w, q, spread, mean, largest = weigh.native_weigh(values, torch.ones(1), 1, 20.0)
        assert spread.item() == 0 and q.item() == 2 + advantage / 2
        assert [w.item(), mean.item(), largest.item()] == pytest.approx([weight] * 3)


@needs_native
@pytest.mark.parametrize("maximum", [100.0, 1.5, 1.0, None])
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
