"""Adam and the moving average: torch's own, the closed form, the native form."""

from __future__ import annotations

import math

import pytest
import torch
from native_cases import needs_native, normals
from reference_cases import noise
from tolerance import assert_as_accurate

from gtp_fast.ops import adam as ops_adam
from gtp_fast.reference.adam import guarded, plain


@pytest.mark.parametrize("weight_decay", [0.0, 3.0])
def test_adam_is_the_one_of_torch(weight_decay: float) -> None:
    rates = (1e-3, 2e-2)
    start = noise(2, 7, 1, step=10)[..., 0]
    theirs = [start[s].clone().requires_grad_() for s in range(2)]
    optimisers = [
        torch.optim.AdamW([x], lr=lr, weight_decay=weight_decay)
        for x, lr in zip(theirs, rates, strict=True)
    ]
    ours, average = start.clone(), start.clone()
    first, second = torch.zeros_like(start), torch.zeros_like(start)
    expected_average = start.clone()
    rate = torch.tensor(rates, dtype=torch.float64)
    for step in range(1, 31):
        gradient = noise(2, 7, 1, step=100 + step)[..., 0] * 10.0 ** (step % 5 - 3)
        for x, g, optimiser in zip(theirs, gradient, optimisers, strict=True):
            x.grad = g.clone()
            optimiser.step()
        buffers = (ours, gradient, first, second, average)
        frozen = torch.zeros(2, dtype=torch.bool)
        plain(*buffers, step, rate, 0.05, None, frozen, weight_decay)
        now = torch.stack([x.detach() for x in theirs])
        expected_average = 0.95 * expected_average + 0.05 * now
        assert torch.allclose(ours, now, rtol=1e-11, atol=1e-13)
        assert torch.allclose(average, expected_average, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("length", "share"), [(2.0, 0.25), (0.1, 1.0), (0.0, 1.0)])
def test_a_gradient_is_shortened_to_the_largest_norm_and_never_lengthened(
    length: float, share: float
) -> None:
    gradient = length * torch.tensor([[0.6, -0.8]], dtype=torch.float64)
    kept, first = gradient.clone(), torch.zeros_like(gradient)
    others = torch.zeros_like(gradient), torch.zeros_like(gradient)
    healthy = torch.zeros(1, dtype=torch.bool)
    norm = plain(torch.ones_like(first), kept, first, *others, 1, torch.ones(1), 0.0, 0.5, healthy)
    assert norm.item() == pytest.approx(length)
    # After one step from 0 the first moment is a tenth of the gradient that was taken.
    assert torch.allclose(first, 0.1 * share * gradient, rtol=1e-5, atol=0)


def test_average_forgets_its_start_geometrically() -> None:
    start, online, rate = noise(1, 4, 1, step=11), noise(1, 4, 1, step=12), 0.005
    average, parameter = start.clone()[..., 0], online.clone()[..., 0]
    still, healthy = torch.zeros_like(parameter), torch.zeros(1, dtype=torch.bool)
    for updates in range(1, 301):
        moments = still.clone(), still.clone(), still.clone()
        plain(parameter, *moments, average, updates, torch.ones(1), rate, None, healthy)
    expected = online + (1 - rate) ** 300 * (start - online)
    assert torch.allclose(average, expected[..., 0], rtol=1e-12)


# --- native --------------------------------------------------------------------------------------


PLAIN = guarded(plain)


def adam(
    function,
    dtype: torch.dtype,
    max_norm: float | None,
    diverged=(-1, -1, -1),
    weight_decay: float = 0.0,
):
    """Return the buffers and norms after five updates of three seeds."""
    start = normals(70, 3, 1000).to(dtype)
    buffers = [start.clone(), torch.zeros_like(start), torch.zeros_like(start), start.clone()]
    rate = torch.tensor([1e-3, 3e-4, 1e-2], dtype=dtype)
    for updates in range(1, 6):
        gradient = normals(70 + updates, 3, 1000).to(dtype) * 10.0 ** (updates - 4)
        parameter, first, second, average = buffers
        norm = function(
            parameter, gradient, first, second, average, updates, rate, 0.01, max_norm,
            torch.zeros(3, dtype=dtype), math.inf, torch.tensor(diverged),
            weight_decay=weight_decay,
        )  # fmt: skip
    return [*buffers, norm]


@needs_native
@pytest.mark.parametrize(
    ("max_norm", "weight_decay"), [(None, 0.0), (0.5, 0.0), (0.5, 5.0), (1e-3, 0.0)]
)
def test_adam_and_the_average(max_norm: float | None, weight_decay: float, isa: str) -> None:
    fast = adam(ops_adam.native_adam, torch.float32, max_norm, weight_decay=weight_decay)
    plain = adam(PLAIN, torch.float32, max_norm, weight_decay=weight_decay)
    exact = adam(PLAIN, torch.float64, max_norm, weight_decay=weight_decay)
    for name, *values in zip(
        ("parameter", "first", "second", "average", "norm"), fast, plain, exact, strict=True
    ):
        assert_as_accurate(name, *values)


@needs_native
@pytest.mark.parametrize("function", [ops_adam.native_adam, PLAIN])
def test_a_frozen_seed_and_one_without_a_norm_stay_and_the_others_go_on(function) -> None:
    free = adam(function, torch.float32, 0.5, weight_decay=5.0)
    held = adam(function, torch.float32, 0.5, (-1, 0, -1), weight_decay=5.0)
    start = normals(70, 3, 1000)
    for i in (0, 3):
        assert torch.equal(held[i][1], start[1])
        assert torch.equal(held[i][[0, 2]], free[i][[0, 2]])
    buffers = [start.clone(), torch.zeros(3, 1000), torch.zeros(3, 1000), start.clone()]
    gradient = normals(71, 3, 1000)
    gradient[1, 7] = math.inf
    gradient[2, 8] = math.nan
    diverged = torch.tensor([-1, -1, -1])
    norm = function(
        buffers[0], gradient, *buffers[1:], 8, torch.full((3,), 1e-3), 0.01, 0.5,
        torch.zeros(3), math.inf, diverged,
    )  # fmt: skip
    assert diverged.tolist() == [-1, 7, 7]
    assert torch.isfinite(norm).tolist() == [True, False, False]
    assert torch.equal(buffers[0][1:], start[1:]) and torch.equal(buffers[3][1:], start[1:])
    assert all(torch.isfinite(b).all() for b in buffers)
    assert not torch.equal(buffers[0][0], start[0])


@needs_native
@pytest.mark.parametrize("function", [ops_adam.native_adam, PLAIN])
def test_a_seed_stays_where_its_norm_alone_leaves_float32(function) -> None:
    start, gradient = normals(72, 2, 50).abs(), normals(73, 2, 50)
    gradient[1] = 1e38
    buffers, diverged = [start.clone() for _ in range(4)], torch.tensor([-1, -1])
    norm = function(
        buffers[0], gradient, *buffers[1:], 8, torch.full((2,), 1e-3), 0.01, 0.5,
        torch.zeros(2), math.inf, diverged,
    )  # fmt: skip
    assert diverged.tolist() == [-1, 7] and torch.isinf(norm).tolist() == [False, True]
    assert all(torch.equal(x[1], start[1]) for x in buffers)


@needs_native
@pytest.mark.parametrize("function", [ops_adam.native_adam, PLAIN])
def test_a_frozen_seed_keeps_its_moments(function) -> None:
    start = [normals(i, 3, 50).abs() for i in range(80, 84)]
    buffers, gradient = [x.clone() for x in start], normals(84, 3, 50)
    gradient[2, 7] = math.nan
    function(
        buffers[0], gradient, *buffers[1:], 8, torch.full((3,), 1e-3), 0.01, 0.5,
        torch.zeros(3), math.inf, torch.tensor([-1, 4, -1]),
    )  # fmt: skip
    for now, before in zip(buffers, start, strict=True):
        assert torch.equal(now[1:], before[1:]) and not torch.equal(now[0], before[0])


@needs_native
@pytest.mark.parametrize("function", [ops_adam.native_adam, PLAIN])
def test_a_seed_with_an_unsound_loss_stays_from_then_on_and_is_noted_once(function) -> None:
    start = normals(72, 4, 50)
    buffers = [start.clone(), torch.zeros(4, 50), torch.zeros(4, 50), start.clone()]
    diverged = torch.tensor([-1, -1, -1, 2])
    for updates, losses in ((5, [1.0, 5.1, math.nan, 0.0]), (6, [-5.0, 0.0, 0.0, 0.0])):
        parameter, *others = buffers
        function(
            parameter, normals(73, 4, 50), *others, updates, torch.full((4,), 1e-3), 0.01, None,
            torch.tensor(losses), 5.0, diverged,
        )  # fmt: skip
        assert diverged.tolist() == [-1, 4, 4, 2]
    assert torch.equal(buffers[0][1:], start[1:])
    assert not torch.equal(buffers[0][0], start[0])
