"""What native forms read by its address: other dtypes, shapes and devices are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from native_cases import draw, keys, needs_native
from torch import Tensor

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.ops import adam, embed, loss, mlp, operands, perturb, philox, tally, td, weigh
from gtp_fast.reference import philox as draws

pytestmark = needs_native
S, B, A = 2, 6, 3
Case = tuple[Callable[..., object], list[Tensor]]


def perturbed_by(a: Tensor, nodes: Tensor, cdf: Tensor, keys: Tensor) -> object:
    return perturb.native_perturb(a, nodes, 11, keys, 5, cdf=cdf)


def lost(*inputs: Tensor) -> object:
    return loss.flow_map_gradient(*inputs)


def stepped(*buffers: Tensor) -> object:
    *arrays, rate, sound, diverged = buffers
    return adam.native_adam(*arrays, 3, rate, 0.01, None, sound, 1e9, diverged)


def tallied(metrics: Tensor, total: Tensor, limits: Tensor, bad: Tensor) -> object:
    return tally.native_tally(metrics, total, limits, bad, 3)


def multiplied(x: Tensor, *parameters: Tensor) -> object:
    return mlp.native_mlp(x, parameters[::2], parameters[1::2])


def embedded(levels: Tensor, *parameters: Tensor) -> object:
    return embed.native_embed(levels, parameters)


def tensors(*shapes: Sequence[int]) -> list[Tensor]:
    return [draw(7 + i, *shape) for i, shape in enumerate(shapes)]


def unsound(*shape: int) -> Tensor:
    return torch.full(shape, -1)


CLOCK = [(S, 4, 5), (S, 5), (S, 5, 4), (S, 4)]
CASES: dict[str, Case] = {
    "normals": (lambda k: philox.native_normals(k, 1, 2, B, A), [keys(S)]),
    "integers": (lambda k: philox.native_integers(k, 1, 2, B, 9), [keys(S)]),
    "td": (
        lambda *x: td.native_td_loss(*x, 0.9), tensors((2, S, B), (2, S, 2 * B), (S, B), (S, B)),
    ),
    "weigh": (lambda *x: weigh.native_weigh(*x, B, None), tensors((2, S, 3 * B), (S,))),
    "loss": (lost, tensors((S, 2 * B, A), *[(S, B, A)] * 2, *[(S, B, A)] * 2, *[(S, B)] * 7)),
    "perturb": (
        perturbed_by,
        [*tensors((S, B, A)), reference.karras_nodes(11), reference.lognormal_cdf(11), keys(S)],
    ),
    "adam": (stepped, [*tensors(*[(S, 9)] * 5, (S,), (S,)), unsound(S)]),
    "tally": (tallied, [*tensors((4, S), (4, S), (2,)), unsound(2, S)]),
    "mlp": (multiplied, tensors((S, B, 3), (S, 3, 4), (S, 4), (S, 4, 2), (S, 2))),
    "embed": (embedded, tensors((S, B, 2), *CLOCK, *CLOCK)),
}  # fmt: skip
ALL = [(name, i) for name, (_, inputs) in CASES.items() for i in range(len(inputs))]


def of_other_dtypes(x: Tensor) -> list[Tensor]:
    if x.is_floating_point():
        return [x.double(), x.half(), x > 0, x.to("meta")]
    return [x.double(), x.int(), x.to("meta")]


@pytest.mark.parametrize(("name", "place"), ALL)
def test_another_dtype_or_device_is_refused_by_name(name: str, place: int) -> None:
    function, inputs = CASES[name]
    function(*[x.clone() for x in inputs])
    for wrong in of_other_dtypes(inputs[place]):
        given = [x.clone() for x in inputs]
        given[place] = wrong
        with pytest.raises(UserError, match=r"must be \[.*\] (float32|int64) on the CPU, not"):
            function(*given)
        assert all(torch.equal(x, y) for x, y in zip(given, inputs, strict=True) if x is not wrong)


# The sizes that others must have are those of these: fewer twins, actions or groups serve too.
FREE = [("weigh", 0), ("perturb", 0), ("mlp", 0), ("normals", 0), ("integers", 0)]


@pytest.mark.parametrize(("name", "place"), [x for x in ALL if x not in FREE])
def test_another_shape_is_refused(name: str, place: int) -> None:
    function, inputs = CASES[name]
    x = inputs[place]
    for wrong in (x[:1], x[..., :-1], x[None]):
        given = [x.clone() for x in inputs]
        given[place] = wrong
        with pytest.raises(ValueError):  # noqa: PT011
            function(*given)


@pytest.mark.parametrize("name", ["normals", "integers", "td", "weigh", "loss", "perturb", "mlp"])
def test_inputs_with_gaps_give_the_same_bits(name: str) -> None:
    function, inputs = CASES[name]
    apart = [torch.stack((x, x), -1)[..., 0] for x in inputs]
    flat = [
        [y for y in (found if isinstance(found, tuple) else (found,)) if isinstance(y, Tensor)]
        for found in (function(*inputs), function(*apart))
    ]
    assert flat[0] and all(torch.equal(x, y) for x, y in zip(*flat, strict=True))


def test_one_group_of_levels_is_not_written_as_two() -> None:
    function, inputs = CASES["embed"]
    with pytest.raises(UserError, match=r"the network returns \[2, 6, 4\], not \[1, 6, 4\]"):
        function(inputs[0][:1], *inputs[1:])


def test_keys_are_read_one_by_one_however_they_lie() -> None:
    four = draws.key_tensor([1, 2, 3, 4])
    for given in (four[::2], four[:1].expand(3)):
        fast, plain = (x(given, 0, 2, 1, 2) for x in (philox.native_normals, draws.normals))
        assert torch.allclose(fast, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_normals_of_another_dtype_are_those_of_float32_converted(dtype: torch.dtype) -> None:
    fast = philox.native_normals(keys(S), 1, 2, 37, A, dtype)
    assert torch.equal(fast, philox.native_normals(keys(S), 1, 2, 37, A).to(dtype))


def test_what_is_no_batch_is_refused_instead_of_left_unwritten() -> None:
    values, one = draw(1, 2, S, B), torch.ones(S)
    with pytest.raises(UserError, match="values of data actions and of policy actions"):
        weigh.native_weigh(values, one, B, 100.0)
    for rows in (0, 4):
        with pytest.raises(UserError, match="values of data actions and of policy actions"):
            weigh.native_weigh(values, one, rows, 100.0)
    nothing, rows = torch.zeros(2, S, 0), torch.zeros(S, 0)
    with pytest.raises(UserError, match="needs twins, rows and next actions"):
        td.native_td_loss(nothing, nothing, rows, rows, 0.9)
    with pytest.raises(UserError, match="needs twins, rows and next actions"):
        td.native_td_loss(values, values[..., :-1], one[:, None].expand(S, B), values[0], 0.9)
    empty = torch.zeros(S, 0, A)
    with pytest.raises(UserError, match="a loss needs rows and actions"):
        loss.flow_map_gradient(*[empty] * 12)


def test_what_is_written_in_place_may_have_no_gaps() -> None:
    wide = torch.zeros(S, 6)[:, ::2]
    operands.buffer(wide.contiguous(), (S, 3), "it")
    with pytest.raises(UserError, match="it must be contiguous: native code writes it in place"):
        operands.buffer(wide, (S, 3), "it")
