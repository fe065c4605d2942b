"""Gradients that a backward pass writes where they belong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from native_cases import draw, needs_native

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.networks import mlp
from gtp_fast.networks.parameters import Parameters, initialise, mlp_shapes
from gtp_fast.ops import embed, gradients, td
from gtp_fast.ops import loss as ops_loss
from gtp_fast.ops import mlp as ops_mlp
from gtp_fast.reference import philox

pytestmark = needs_native
KEYS = philox.key_tensor([3, 5])
X = philox.normals(KEYS, 0, philox.Stream.NOISE, 9, 4)


def made() -> Parameters:
    shapes = mlp_shapes(4, 8, 2, 4) | {"unused_by_the_network": (3,)}
    parameters = Parameters(2, shapes, torch.device("cpu"), torch.float32)
    initialise(parameters, KEYS, (0,))
    parameters.gradient.fill_(torch.nan)
    return parameters


def loss(parameters: Parameters, passes: int) -> torch.Tensor:
    x = X
    for _ in range(passes):
        x = mlp(parameters.views, x, 2, ops_mlp.native_mlp)
    return x.square().sum() + parameters.views["unused_by_the_network"].sum()


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_one_pass_or_several_leave_the_gradient_of_autograd(passes: int) -> None:
    plain, fast = made(), made()
    plain.differentiate(loss(plain, passes))
    gradients.differentiate(fast, loss(fast, passes))
    assert torch.isfinite(plain.gradient).all()
    assert torch.equal(fast.gradient, plain.gradient)


def test_a_home_is_taken_once_and_only_while_it_is_offered(monkeypatch) -> None:
    parameters, copies = made(), []
    monkeypatch.setattr(torch, "_foreach_copy_", lambda homes, parts: copies.append(len(homes)))
    gradients.differentiate(parameters, loss(parameters, 1))
    assert copies == [1]  # What no native pass made.
    leaves = list(parameters.views.values())
    free = torch.autograd.grad(loss(parameters, 1), leaves)
    for part, home in zip(free, parameters.gradient_views.values(), strict=True):
        assert part.data_ptr() != home.data_ptr()


def test_an_error_on_the_way_back_leaves_nothing_on_offer() -> None:
    parameters = made()
    with pytest.raises(RuntimeError):
        gradients.differentiate(parameters, reference.mish(X))
    view = parameters.views["layer0.weight"]
    assert (
        gradients.destination(view).data_ptr()
        != parameters.gradient_views["layer0.weight"].data_ptr()
    )


def embedded(x: torch.Tensor) -> torch.Tensor:
    clock = [x, x[:, 0], x.transpose(1, 2), x[:, 0, :2]]
    return embed.native_embed(draw(2, 2, 3, 2), clock * 2)


def mapped(x: torch.Tensor) -> torch.Tensor:
    a, row = torch.ones(2, 1, 4), torch.ones(2, 1)
    consistency, flow = ops_loss._Loss.apply(
        ops_loss.flow_map_gradient, x, a, a, row, a, a, *[row] * 6
    )
    return consistency + flow


ROWS = torch.ones(2, 4)
FUSED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mlp": lambda x: ops_mlp.native_mlp(x, [draw(3, 2, 4, 3)], [draw(4, 2, 3)]),
    "embed": embedded,
    "td": lambda x: td.native_td_loss(x, x, ROWS, ROWS, 0.9),
    "loss": mapped,
}


@pytest.mark.parametrize("name", FUSED)
def test_a_second_derivative_is_refused_instead_of_left_out(name: str) -> None:
    x = draw(1, 2, 2, 4).requires_grad_()
    value = FUSED[name](x).sum()
    assert torch.autograd.grad(value, x, retain_graph=True)[0].abs().sum() > 0
    with pytest.raises(UserError, match="no second derivative: leave out create_graph=True"):
        torch.autograd.grad(value, x, create_graph=True)
