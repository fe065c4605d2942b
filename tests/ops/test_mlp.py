"""Perceptrons: sums by hand, the native form with every gradient, the sizes of a kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from native_cases import needs_native, normals
from tolerance import assert_as_accurate

from gtp_fast import ops, reference
from gtp_fast.errors import UserError
from gtp_fast.ops import limits, mlp, mlp_triton


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mish_is_the_one_of_torch(dtype: torch.dtype) -> None:
    x = torch.cat((torch.linspace(-30, 30, 2001), torch.tensor([-80.0, 80.0, 1e4, -1e4]))).to(dtype)
    x.requires_grad_()
    theirs = torch.nn.functional.mish(x.double())
    ours = reference.mish(x)
    scale = 1e-5 if dtype == torch.float32 else 1e-12
    assert ((ours - theirs).abs() <= scale * theirs.abs() + 1e-30).all()
    slopes = [torch.autograd.grad(y.sum(), x)[0].double() for y in (ours, theirs)]
    assert ((slopes[0] - slopes[1]).abs() < 2 * scale).all()


def by_hand(x: list[float], layers: list[tuple], act: Callable[[float], float]) -> list[float]:
    """Run one row through layers of (weight, bias) in Python's floats."""
    for i, (weight, bias) in enumerate(layers):
        x = [
            b + sum(value * row[j] for value, row in zip(x, weight, strict=True))
            for j, b in enumerate(bias)
        ]
        x = [act(value) for value in x] if i < len(layers) - 1 else x
    return x


@pytest.mark.parametrize(
    ("activation", "act"),
    [
        ("mish", lambda x: x * math.tanh(math.log1p(math.exp(x)))),
        ("gelu", lambda x: x / (1 + math.exp(-2 * (2 / math.pi) ** 0.5 * (x + 0.044715 * x**3)))),
        ("relu", lambda x: max(x, 0.0)),
    ],
)
def test_an_mlp_is_its_sums_by_hand(activation: str, act: Callable[[float], float]) -> None:
    sizes = (5, 4, 4, 2)
    weights = [normals(i, 2, a, b).double() for i, (a, b) in enumerate(pairwise(sizes))]
    biases = [normals(9 + i, 2, n).double() for i, n in enumerate(sizes[1:])]
    # The second piece has one group and one row for all.
    pieces = [normals(20, 2, 3, 3).double(), normals(21, 1, 1, 2).double()]
    y = reference.mlp(pieces, weights, biases, activation)
    for group in range(2):
        pairs = zip(weights, biases, strict=True)
        layers = [(w[group].tolist(), b[group].tolist()) for w, b in pairs]
        for row in range(3):
            x = [*pieces[0][group, row].tolist(), *pieces[1][0, 0].tolist()]
            assert y[group, row].tolist() == pytest.approx(by_hand(x, layers, act), rel=1e-11)


# --- native --------------------------------------------------------------------------------------


class Case:
    """A perceptron of G groups whose parameters are views of one flat buffer, as an agent's are."""

    def __init__(self, groups: int, rows: int, sizes: tuple[int, ...], activation: str = "mish"):
        self.name = f"G={groups} B={rows} {sizes} {activation}"
        self.activation, self.layers = activation, len(sizes) - 1
        parts, shapes = [], []
        for i, (n_in, n_out) in enumerate(pairwise(sizes)):
            parts += [normals(2 * i, groups, n_in * n_out) / n_in**0.5]
            parts += [0.3 * normals(2 * i + 1, groups, n_out)]
            shapes += [(n_in, n_out), (n_out,)]
        flat = torch.cat(parts, 1)
        views = torch.split(flat, [math.prod(shape) for shape in shapes], 1)
        pairs = zip(views, shapes, strict=True)
        self.parameters = [view.unflatten(1, shape) for view, shape in pairs]
        self.x, self.dy = normals(50, groups, rows, sizes[0]), normals(51, groups, rows, sizes[-1])

    def results(self, function, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
        """Return y, then the gradients of x and of every parameter."""
        leaves = [t.detach().to(dtype).requires_grad_() for t in (self.x, *self.parameters)]
        if dtype == torch.float32:
            leaves = [t.detach().requires_grad_() for t in (self.x, *self.parameters)]
        y = function(leaves[0], leaves[1::2], leaves[2::2], self.activation)
        return [y.detach(), *torch.autograd.grad(y, leaves, self.dy.to(dtype))]

    def check(self) -> None:
        fast, plain = self.results(mlp.native_mlp), self.results(reference.mlp)
        exact = self.results(reference.mlp, torch.float64)
        for i, values in enumerate(zip(fast, plain, exact, strict=True)):
            assert_as_accurate(f"{self.name}, result {i}", *values)


@needs_native
@pytest.mark.parametrize("rows", [1, 63, 255, 256, 257, 1000])
def test_batches(rows: int, isa: str) -> None:
    Case(2, rows, (37, 64, 64, 1)).check()


@needs_native
def test_a_batch_of_rows_times_tiles_beyond_an_int() -> None:
    Case(1, 200_000, (2, 3, 2)).check()


@needs_native
@pytest.mark.parametrize("activation", ["mish", "relu", "gelu"])
@pytest.mark.parametrize(
    ("groups", "sizes"),
    [(2, (obs + act, 48, 40, 1)) for obs, act in ((11, 3), (17, 6), (27, 8), (29, 8), (105, 17))]
    + [(1, (act + 32 + 29, 40, 40, act)) for act in (1, 3, 6, 8, 17)]
    + [(3, (16, 32, 16)), (2, (5, 4)), (1, (1, 1, 1)), (1, (37, 256, 256, 256, 1))],
)
def test_shapes(groups: int, sizes: tuple[int, ...], activation: str, isa: str) -> None:
    Case(groups, 33, sizes, activation).check()


@needs_native
def test_no_rows_have_no_values_and_gradients_of_zero() -> None:
    y, dx, *gradients = Case(2, 0, (3, 4, 2)).results(mlp.native_mlp)
    assert y.shape == (2, 0, 2) and dx.shape == (2, 0, 3)
    assert all(not g.any() for g in gradients)


@needs_native
def test_an_affine_product_is_its_sums_by_hand(isa: str) -> None:
    x, weight = torch.tensor([[[1.0, 2.0], [0.0, -1.0]]]), torch.tensor([[[3.0, 5.0], [7.0, 11.0]]])
    bias = torch.tensor([[0.5, -0.5]])
    for form in (reference.affine, mlp.native_affine):
        assert form(x, weight, bias).tolist() == [[[17.5, 26.5], [-6.5, -11.5]]]
    assert mlp.AFFINE.keys() == mlp.FORMS.keys()


@needs_native
def test_bias_gradients_keep_what_cancels(isa: str) -> None:
    case = Case(1, 100, (3, 8, 2))
    case.dy = torch.ones(1, 100, 2)
    case.dy[0, 0], case.dy[0, -1] = 2.0**25, -(2.0**25)
    *_, bias = case.results(mlp.native_mlp)
    # In float32 one is lost next to 2^25.
    assert bias.tolist() == [[98.0, 98.0]]


@needs_native
@pytest.mark.parametrize("activation", ["mish", "relu", "gelu"])
def test_inputs_that_are_not_contiguous_and_saturated_ones(activation: str, isa: str) -> None:
    case = Case(2, 24, (6, 20, 3), activation)
    wide = normals(60, 24, 2, 12)
    case.x = wide.transpose(0, 1)[..., ::2]
    case.check()
    for scale in (1e-30, 60.0, 1e4):
        case.x = scale * normals(61, 2, 24, 6)
        case.check()


@needs_native
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_the_bits_depend_neither_on_threads_nor_on_other_groups(groups: int) -> None:
    case = Case(groups, 257, (37, 64, 64, 5))
    before = torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs += [case.results(mlp.native_mlp), case.results(mlp.native_mlp)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))
    alone = Case(groups, 257, (37, 64, 64, 5))
    alone.x, alone.dy = case.x[-1:], case.dy[-1:]
    alone.parameters = [p[-1:] for p in case.parameters]
    for whole, one in zip(runs[0], alone.results(mlp.native_mlp), strict=True):
        assert torch.equal(whole[-1:], one)


@needs_native
def test_two_graphs_may_live_at_once_and_one_may_be_walked_twice() -> None:
    case, other = Case(1, 16, (4, 8, 2)), Case(1, 16, (4, 8, 2))
    other.x = 2 * case.x
    expected, other_expected = case.results(mlp.native_mlp), other.results(mlp.native_mlp)
    leaves = [p.detach().requires_grad_() for p in case.parameters]
    first = mlp.native_mlp(case.x, leaves[::2], leaves[1::2])
    second = mlp.native_mlp(other.x, leaves[::2], leaves[1::2])
    for y, dy, want in (
        (first, case.dy, expected),
        (second, other.dy, other_expected),
        (first, case.dy, expected),
    ):
        got = torch.autograd.grad(y, leaves, dy, retain_graph=True)
        assert all(torch.equal(a, b) for a, b in zip(got, want[2:], strict=True))


@needs_native
def test_a_nan_is_never_lost() -> None:
    case = Case(1, 9, (4, 8, 2))
    case.x[0, 3, 1] = math.nan
    y, dx, *gradients = case.results(mlp.native_mlp)
    assert torch.isnan(y[0, 3]).all() and torch.isfinite(y[0, [0, 1, 2, 4, 5, 6, 7, 8]]).all()
    assert torch.isnan(dx[0, 3]).all()
    assert torch.isnan(gradients[0]).all()


@needs_native
def test_pieces_are_read_side_by_side_and_get_their_own_gradients(isa: str) -> None:
    case = Case(4, 34, (5 + 40 + 3, 24, 2))
    shapes = ((4, 34, 5), (2, 34, 40), (1, 17, 3))
    pieces = [normals(80 + i, *shape) for i, shape in enumerate(shapes)]
    results = []
    for function, dtype in (
        (mlp.native_mlp, torch.float32),
        (reference.mlp, torch.float32),
        (reference.mlp, torch.float64),
    ):
        parameters = [p.to(dtype) for p in case.parameters]
        leaves = [p.to(dtype).requires_grad_(i != 1) for i, p in enumerate(pieces)]
        y = function(leaves, parameters[::2], parameters[1::2])
        gradients = torch.autograd.grad(y, leaves[::2], case.dy.to(dtype))
        results.append([y.detach(), *gradients])
    for name, *values in zip(("y", "first", "third"), *results, strict=True):
        assert_as_accurate(name, *values)


@needs_native
def test_rows_of_a_shorter_piece_repeat_from_block_to_block(isa: str) -> None:
    """Rows go through all layers in blocks, and a piece may end inside one."""
    case = Case(1, 600, (5 + 3, 8, 2))
    weights, biases = case.parameters[::2], case.parameters[1::2]
    own, shared = normals(80, 1, 600, 5), normals(81, 1, 300, 3)
    whole = torch.cat((own, shared.repeat(1, 2, 1)), 2)
    y = mlp.native_mlp((own, shared), weights, biases)
    assert torch.equal(y, mlp.native_mlp(whole, weights, biases))


@needs_native
def test_mish_keeps_relative_accuracy_where_it_is_small(isa: str) -> None:
    x = torch.linspace(-30.0, -1e-6, 10_000).view(1, -1, 1)
    one, zero = torch.ones(1, 1, 1), torch.zeros(1, 1)
    y = mlp.native_mlp(x, (one, one), (zero, zero))
    exact = torch.nn.functional.mish(x.double())
    assert ((y - exact).abs() / exact.abs()).max() < 4e-7


@needs_native
def test_no_gradient_is_taken_of_parameters_that_want_none(monkeypatch) -> None:
    case = Case(2, 16, (4, 8, 2))
    x = case.x.requires_grad_()
    (expected,) = torch.autograd.grad(mlp.native_mlp(x, *halves(case, True)).sum(), x)
    asked = []
    monkeypatch.setattr(mlp, "destination", asked.append)
    (dx,) = torch.autograd.grad(mlp.native_mlp(x, *halves(case, False)).sum(), x)
    assert torch.equal(dx, expected) and not asked


def halves(case: Case, trains: bool) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    leaves = [p.detach().requires_grad_(trains) for p in case.parameters]
    return leaves[::2], leaves[1::2]


@needs_native
@pytest.mark.parametrize("shape", [(2, 4, 5), (3, 4, 4), (0, 4, 4)])
def test_inputs_that_do_not_fit_are_named(shape: tuple[int, ...]) -> None:
    said = r"x \[\[\d, 4, \d\]\] does not fit 2 networks of \[4, 8, 2\]: .*the input"
    with pytest.raises(UserError, match=said):
        mlp.native_mlp(torch.zeros(shape), *halves(Case(2, 4, (4, 8, 2)), False))


@needs_native
@pytest.mark.parametrize("precision", ["tf32", "half"])
def test_a_precision_that_native_code_lacks_is_no_fp32(precision: str) -> None:
    case = Case(1, 4, (4, 8, 2))
    with pytest.raises(UserError, match=f"Unknown precision '{precision}': choose fp32 or bf16"):
        mlp.native_mlp(case.x, *halves(case, False), "mish", precision)


# --- sizes beyond a fused form -------------------------------------------------------------------


@needs_native
@pytest.mark.parametrize("trains", [True, False])
def test_a_layer_beyond_native_code_goes_through_the_reference(trains: bool) -> None:
    x, weight = torch.randn(1, 2, 65537), torch.randn(1, 65537, 2)
    parts = x, [weight.requires_grad_(trains)], [torch.zeros(1, 2)]
    limits.beyond.cache_clear()
    with pytest.warns(UserWarning, match="a network of 65537 inputs runs through PyTorch: native"):
        y = ops.resolve("auto").mlp(*parts)
    assert torch.equal(y, reference.mlp(*parts))
    with pytest.raises(UserError, match="not available for a network of 65537 inputs"):
        ops.resolve("fused").mlp(*parts)


def network(width: int) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    sizes = [3, width, 2]
    weights = [torch.randn(1, a, b) for a, b in pairwise(sizes)]
    return torch.randn(1, 4, 3), weights, [torch.zeros(1, n) for n in sizes[1:]]


def test_a_size_beyond_the_kernel_is_said_once() -> None:
    parts = network(600)
    with pytest.warns(UserWarning, match="1 hidden layers of 600 .* runs through PyTorch") as told:
        results = [mlp_triton.triton_mlp(*parts) for _ in range(2)]
    assert len(told) == 1
    assert all(torch.equal(result, reference.mlp(*parts)) for result in results)


def test_a_size_beyond_the_kernel_is_an_error_where_fused_was_asked_for() -> None:
    with pytest.raises(UserError, match=r"--backend fused is not available for .* of 4 "):
        mlp_triton.triton_mlp(*network(4), strict=True)
