"""Perceptrons with a layer norm: sums by hand, the native form with every gradient."""

from __future__ import annotations

import functools
import math
from itertools import pairwise

import pytest
import torch
from native_cases import needs_native, normals
from test_mlp import Case
from tolerance import assert_as_accurate
from torch import Tensor

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.ops import limits, mlp, mlp_triton

# --- reference -----------------------------------------------------------------------------------


def test_gradcheck_with_norms() -> None:
    sizes = (3, 5, 4, 2)
    shapes = [(2, a, b) for a, b in pairwise(sizes)]
    shapes += [(2, n) for n in (*sizes[1:], *(5, 4) * 2)]
    leaves = [normals(i, *shape).double().requires_grad_() for i, shape in enumerate(shapes)]
    x = normals(30, 2, 3, 3).double().requires_grad_()

    def y(x: Tensor, *p: Tensor) -> Tensor:
        return reference.mlp(x, p[:3], p[3:6], "gelu", list(zip(p[6:8], p[8:], strict=True)))

    assert torch.autograd.gradcheck(y, (x, *leaves))


def test_one_layer_is_its_closed_form() -> None:
    # Of two units a > b > 0 the norm is (n, -n), n = d / sqrt(d^2 + eps) with d = (a - b) / 2.
    exact = functools.partial(torch.tensor, dtype=torch.float64)
    x = exact([[[3.0], [0.004]]]).requires_grad_()
    weights = (exact([[[2.0, 1.0]]]), exact([[[1.5], [-2.0]]]))
    biases, norm = (
        (exact([[0.5, 0.5]]), exact([[1.0]])),
        (exact([[0.7, -1.3]]), exact([[-0.9, 5.0]])),
    )
    y = reference.mlp(x, weights, biases, "relu", [norm])
    (slope,) = torch.autograd.grad(y.sum(), x)
    y = y.detach()
    for row, d in enumerate((1.5, 0.002)):
        n = d / math.sqrt(d * d + 1e-6)
        by_hand = 1.5 * (0.7 * n - 0.9) - 2.0 * (1.3 * n + 5.0) + 1.0
        assert float(y[0, row, 0]) == pytest.approx(by_hand, rel=1e-12)
        # d is half of x, and dn/dd = eps / (d^2 + eps)^1.5.
        by_hand = 0.5 * (1.5 * 0.7 - 2.0 * 1.3) * 1e-6 / (d * d + 1e-6) ** 1.5
        assert float(slope[0, row, 0]) == pytest.approx(by_hand, rel=1e-7)


# --- native --------------------------------------------------------------------------------------


class NormCase(Case):
    """A perceptron whose scales and shifts follow the other parameters in its flat buffer."""

    def __init__(
        self, groups: int, rows: int, sizes: tuple[int, ...], activation: str = "gelu"
    ) -> None:
        super().__init__(groups, rows, sizes, activation)
        self.name += " with norms"
        for i, width in enumerate(sizes[1:-1]):
            longer = normals(90 + i, groups, 2 * width + 3)
            self.parameters += [1.0 + 0.3 * longer[:, :width], 0.3 * longer[:, width : 2 * width]]

    def results(self, function, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        return super().results(functools.partial(with_norms, function, self.layers), dtype)


def with_norms(function, layers: int, x, firsts: list, seconds: list, activation: str) -> Tensor:
    """Call with weights and scales in `firsts`, biases and shifts in `seconds`."""
    norms = list(zip(firsts[layers:], seconds[layers:], strict=True))
    return function(x, firsts[:layers], seconds[:layers], activation, norms=norms)


@needs_native
@pytest.mark.parametrize("rows", [1, 63, 255, 256, 257, 1000])
def test_batches(rows: int, isa: str) -> None:
    NormCase(2, rows, (14, 64, 64, 1)).check()


@needs_native
@pytest.mark.parametrize("activation", ["mish", "relu", "gelu"])
@pytest.mark.parametrize(
    ("groups", "sizes"),
    # Of one unit a single number is exact by luck, so many groups judge. Two or three units may be
    # nearly equal: their norm multiplies a rounding by up to 1000, so that no error is typical.
    [(64, (14, 1, 1))]
    + [(2, (14, n, 1)) for n in (7, 8, 9, 15, 16, 17, 31, 33, 64, 100)]
    + [(3, (16, 32, 16, 40, 5)), (6, (37, 48, 40, 33, 65, 1)), (6, (20, 65, 65, 65, 65, 1))]
    + [(1, (14, 256, 256, 3)), (2, (5, 4))],
)
def test_shapes(groups: int, sizes: tuple[int, ...], activation: str, isa: str) -> None:
    NormCase(groups, 33, sizes, activation).check()


@needs_native
@pytest.mark.parametrize("level", [0.3, -4.0, 7.7, 3e5])
@pytest.mark.parametrize("width", [8, 24, 37, 100])
def test_rows_without_variance(width: int, level: float, isa: str) -> None:
    # Every unit has one value, or is dead; the inverse of the deviation is then 1000.
    case = NormCase(2, 9, (6, width, width, 2), "relu")
    with torch.no_grad():
        for i, parameter in enumerate(case.parameters[:4]):
            parameter.fill_(level if i % 2 else 0.0)
    case.check()


@needs_native
def test_rows_far_from_zero_keep_their_variance(isa: str) -> None:
    case = NormCase(2, 40, (6, 50, 2), "relu")
    case.parameters[1].data.add_(1e4)
    case.check()


@needs_native
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_the_bits_depend_neither_on_threads_nor_on_other_groups(groups: int, isa: str) -> None:
    case, before = NormCase(groups, 257, (37, 64, 50, 5)), torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs.append(case.results(mlp.native_mlp))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))
    case.x, case.dy = case.x[-1:], case.dy[-1:]
    case.parameters = [p[-1:] for p in case.parameters]
    for whole, one in zip(runs[0], case.results(mlp.native_mlp), strict=True):
        assert torch.equal(whole[-1:], one)


@needs_native
@pytest.mark.parametrize("rows", [1, 5, 300])
def test_a_row_alone_has_the_bits_it_has_among_others(rows: int, isa: str) -> None:
    case = NormCase(2, 600, (14, 40, 33, 3))
    y, dx, *_ = case.results(mlp.native_mlp)
    case.x, case.dy = case.x[:, -rows:].contiguous(), case.dy[:, -rows:].contiguous()
    alone, dx_alone, *_ = case.results(mlp.native_mlp)
    assert torch.equal(y[:, -rows:], alone) and torch.equal(dx[:, -rows:], dx_alone)


def forward(case: Case) -> Tensor:
    firsts, seconds = case.parameters[::2], case.parameters[1::2]
    if isinstance(case, NormCase):
        return with_norms(mlp.native_mlp, case.layers, case.x, firsts, seconds, case.activation)
    return mlp.native_mlp(case.x, firsts, seconds, case.activation)


@needs_native
def test_what_is_saved_changes_no_bit(isa: str) -> None:
    # 301 rows make blocks of two heights; an input as wide as any layer fills the scratch.
    case = NormCase(2, 301, (40, 40, 33, 3))
    assert torch.equal(case.results(mlp.native_mlp)[0], forward(case))


def leave_nan_behind(made: type[Case]) -> None:
    """Fill scratch and kept buffers with NaN, beyond the widths that a smaller network fills."""
    spoilt = made(2, 24, (80, 80, 80, 80))
    for x in (spoilt.x, *spoilt.parameters):
        x.fill_(math.nan)
    spoilt.results(mlp.native_mlp)
    forward(spoilt)
    for kept in (x for buffers in mlp.Buffer._free.values() for x in buffers):
        kept.fill_(math.nan)


@needs_native
@pytest.mark.parametrize("out", [1, 3])
@pytest.mark.parametrize("made", [Case, NormCase])
def test_what_a_call_has_left_in_memory_is_never_read(made: type[Case], out: int, isa: str) -> None:
    # The padding of a panel holds what was there before.
    case = made(2, 9, (5, 36, 41, 36, out))
    results = case.results(mlp.native_mlp)
    leave_nan_behind(made)
    for i, pair in enumerate(zip(results, case.results(mlp.native_mlp), strict=True)):
        assert torch.equal(*pair), i
    leave_nan_behind(made)
    assert torch.equal(forward(case), results[0])


@needs_native
def test_frozen_weights_give_the_action_alone_its_gradient(monkeypatch, isa: str) -> None:
    case = NormCase(4, 34, (11 + 3, 24, 24, 24, 24, 1))
    results = []
    asked: list[Tensor] = []
    monkeypatch.setattr(mlp, "destination", asked.append)
    for function, dtype in (
        (mlp.native_mlp, torch.float32),
        (reference.mlp, torch.float32),
        (reference.mlp, torch.float64),
    ):
        observation, action = normals(70, 2, 34, 11).to(dtype), normals(71, 2, 17, 3).to(dtype)
        parameters = [p.to(dtype) for p in case.parameters]
        pieces = (observation, action.requires_grad_())
        y = with_norms(function, 5, pieces, parameters[::2], parameters[1::2], "gelu")
        results.append((y.detach(), *torch.autograd.grad(y, action, case.dy.to(dtype))))
    for name, *values in zip(("y", "action"), *results, strict=True):
        assert_as_accurate(name, *values)
    assert not asked


@needs_native
def test_a_nan_stays_in_its_row(isa: str) -> None:
    case = NormCase(1, 9, (4, 20, 20, 2))
    case.x[0, 3, 1] = math.nan
    y, dx, *gradients = case.results(mlp.native_mlp)
    others = torch.arange(9) != 3
    for rows in (y[0], dx[0]):
        assert torch.isnan(rows[3]).all() and torch.isfinite(rows[others]).all()
    # Weights and biases, then scales and shifts: those of a scale and of every weight see the NaN.
    assert all(torch.isnan(g).all() for g in gradients[::2])


@needs_native
def test_no_rows_have_no_values_and_gradients_of_zero() -> None:
    y, dx, *gradients = NormCase(2, 0, (3, 4, 5, 2)).results(mlp.native_mlp)
    assert y.shape == (2, 0, 2) and dx.shape == (2, 0, 3)
    assert all(not g.any() for g in gradients)


@needs_native
def test_a_layer_without_its_norm_is_refused() -> None:
    case = NormCase(1, 4, (3, 8, 8, 2))
    weights, biases = case.parameters[:6:2], case.parameters[1:6:2]
    with pytest.raises(UserError, match="2 hidden layers takes as many norms or none, not 1"):
        mlp.native_mlp(case.x, weights, biases, "gelu", norms=[case.parameters[6:8]])


# --- a GPU ---------------------------------------------------------------------------------------


def test_a_gpu_says_that_pytorch_computes_networks_with_norms() -> None:
    case = NormCase(1, 4, (3, 16, 2))
    call = functools.partial(
        with_norms, mlp_triton.triton_mlp, 2, case.x, case.parameters[::2],
        case.parameters[1::2], "gelu",
    )  # fmt: skip
    limits.beyond.cache_clear()
    with pytest.warns(UserWarning, match="with 2 outputs and layer norm runs through") as told:
        results = [call() for _ in range(2)]
    assert len(told) == 1
    expected = with_norms(
        reference.mlp, 2, case.x, case.parameters[::2], case.parameters[1::2], "gelu"
    )
    assert all(torch.equal(result, expected) for result in results)
