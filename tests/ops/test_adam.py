"""Adam and the moving average in native code."""

from __future__ import annotations

import math

import pytest
import torch
from on_arrays import instruction_sets
from tolerance import assert_as_accurate

from gtp_fast.ops import adam as ops_adam
from gtp_fast.reference import philox
from gtp_fast.reference.adam import guarded, plain
from gtp_fast.system import native

pytestmark = pytest.mark.skipif(not native.available(), reason=native.missing())


@pytest.fixture(params=instruction_sets())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GTP_FAST_ISA", request.param)
    name: str = request.param
    return name


def normals(seed: int, *shape: int) -> torch.Tensor:
    size = math.prod(shape)
    return philox.normals(philox.key_tensor([seed]), 0, philox.Stream.NOISE, 1, size)[0].view(shape)


PLAIN = guarded(plain)


def adam(function, dtype: torch.dtype, max_norm: float | None, diverged=(-1, -1, -1)):
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
        )  # fmt: skip
    return [*buffers, norm]


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_adam_and_the_average(max_norm: float | None, isa: str) -> None:
    fast = adam(ops_adam.native_adam, torch.float32, max_norm)
    plain = adam(PLAIN, torch.float32, max_norm)
    exact = adam(PLAIN, torch.float64, max_norm)
    for name, *values in zip(
        ("parameter", "first", "second", "average", "norm"), fast, plain, exact, strict=True
    ):
        assert_as_accurate(name, *values)


@pytest.mark.parametrize("function", [ops_adam.native_adam, PLAIN])
def test_a_frozen_seed_and_one_without_a_norm_stay_and_the_others_go_on(function) -> None:
    free = adam(function, torch.float32, 0.5)
    held = adam(function, torch.float32, 0.5, (-1, 0, -1))
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
