"""Training on a CPU whose products read bfloat16, by each instruction set that multiplies it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from agent_cases import TINY, synthetic_table, tiny
from native_cases import needs_native
from on_arrays import limited_to
from rounded import round_products, rounded_pieces
from tolerance import assert_as_accurate
from torch import Tensor

from gtp_fast import agents, reference
from gtp_fast.agents.gtp import GTP
from gtp_fast.agents.setup import Setup
from gtp_fast.ops import mlp as ops_mlp
from gtp_fast.system import native

pytestmark = needs_native

# (G, B, widths of the pieces, hidden widths, outputs, activation, whether norms follow)
CASES = [
    (1, 1, (5,), (8,), 3, "mish"),
    (1, 32, (64,), (32, 64), 32, "relu"),
    (2, 33, (3, 32, 11), (32, 40), 2, "mish"),
    (4, 34, (29, 8), (24, 17), 1, "gelu"),
    (1, 17, (70,), (40, 33, 100), 17, "relu"),
    (2, 256, (29, 8), (256, 256, 256), 1, "mish"),
    (1, 512, (8, 32, 29), (256, 256, 256), 8, "mish"),
    (1, 301, (31,), (300, 1), 65, "mish"),
    (4, 34, (11, 3), (24, 17, 40, 33), 1, "gelu", True),
    (2, 256, (29, 8), (128, 128), 3, "mish", True),
]


@pytest.fixture(params=["amx", "avx512bf16"])
def instructions(request: pytest.FixtureRequest) -> Iterator[str]:
    with limited_to("" if request.param == "amx" else request.param):
        try:
            found = native.module().bf16()
        except ValueError:
            found = ""
        if found != request.param:
            pytest.skip(f"this machine has no {request.param}")
        yield request.param


class Case:
    """Inputs of a pass; parameters with room between groups, as views of a flat buffer have."""

    def __init__(
        self,
        G: int,
        B: int,
        widths: Sequence[int],
        hidden: Sequence[int],
        out: int,
        activation: str,
        norm: bool = False,
    ):
        made = torch.Generator().manual_seed(G + B)
        sizes = [sum(widths), *hidden, out]
        self.activation = activation
        self.weights = [
            torch.randn(G, n_in + 1, n_out, generator=made)[:, :n_in] / n_in**0.5
            for n_in, n_out in pairwise(sizes)
        ]
        self.biases = [0.1 * torch.randn(G, n, generator=made) for n in sizes[1:]]
        self.norms = [
            (1.0 + 0.1 * torch.randn(G, n, generator=made), torch.randn(G, n, generator=made))
            for n in (hidden if norm else ())
        ]
        # Every other piece serves two groups and two rows, where that divides.
        self.pieces = []
        for i, width in enumerate(widths):
            halved = i % 2 == 1 and G % 2 == 0 and B % 2 == 0
            shape = (G // 2, B // 2, width) if halved else (G, B, width)
            self.pieces.append(torch.randn(shape, generator=made))
        self.gradient = torch.randn(G, B, out, generator=made)

    def done(self, mlp, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        flat = [x for norm in self.norms for x in norm]
        tensors = (*flat, *self.weights, *self.biases, *self.pieces)
        inputs = [x.detach().to(dtype).requires_grad_() for x in tensors]
        n, m = len(self.weights), len(flat)
        norms, rest = list(zip(inputs[:m:2], inputs[1:m:2], strict=True)), inputs[m:]
        y = mlp(rest[2 * n :], rest[:n], rest[n : 2 * n], self.activation, norms=norms)
        found = torch.autograd.grad(y, inputs, self.gradient.to(dtype))
        return {"y": y.detach()} | {f"gradient {i}": x for i, x in enumerate(found)}


native_mlp = functools.partial(ops_mlp.native_mlp, precision="bf16")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_pass_and_its_gradients_keep_to_the_rule(case: tuple, instructions: str) -> None:
    made = Case(*case)
    fast, plain = made.done(native_mlp), made.done(rounded_pieces)
    exact = made.done(reference.mlp, torch.float64)
    for name in exact:
        assert_as_accurate(f"{instructions} {name}", fast[name], plain[name], exact[name])


def test_the_numbers_are_rounded_and_not_merely_close(instructions: str) -> None:
    made = Case(1, 64, (32,), (32,), 32, "relu")
    plain, full = made.done(rounded_pieces)["y"], made.done(reference.mlp)["y"]
    fast = made.done(native_mlp)["y"]
    assert float((fast - plain).abs().max()) < 0.1 * float((fast - full).abs().max())


@pytest.mark.parametrize("threads", [2, 3])
def test_bits_do_not_depend_on_threads_or_on_other_groups(threads: int, instructions: str) -> None:
    made, before = Case(2, 130, (29, 8), (64, 64), 5, "mish"), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one = made.done(native_mlp)
        torch.set_num_threads(threads)
        several = made.done(native_mlp)
    finally:
        torch.set_num_threads(before)
    for name, value in one.items():
        assert torch.equal(value, several[name]), name


def test_a_nan_reaches_its_own_row_alone(instructions: str) -> None:
    made = Case(1, 40, (32,), (32, 32), 8, "mish")
    made.pieces[0][0, 3, 5] = torch.nan
    y = made.done(native_mlp)["y"][0]
    assert y[3].isnan().all() and torch.isfinite(y[torch.arange(40) != 3]).all()


def test_machines_without_it_say_so() -> None:
    with limited_to("portable"):
        assert native.module().bf16() == ""
        with pytest.raises(ValueError, match="multiplies no bfloat16"):
            native.module().MlpShape(1, 1, (2, 3), 0, True)


def updated(updates: int, *how: Any, plainly: bool = False, bias: float = 0.0) -> dict[str, Tensor]:
    config = replace(
        TINY, width=64, batch_size=64, eta=(1.0,), value_samples=2, max_gradient_norm=1.0
    )
    # One number's error is luck; the largest of sixteen seeds' is not.
    agent = GTP(config, Setup(3, 2, range(16), "cpu", *how))
    agent.prepare(10)
    with torch.no_grad():
        agent.actor.average.views["layer2.bias"].add_(bias)
    if plainly:
        round_products(agent)
    metrics = torch.stack([agent.update(synthetic_table(), step) for step in range(updates)])
    state = {name: x for name, x in agent.state_dict().items() if x.is_floating_point()}
    return state | {"metrics": metrics}


@pytest.mark.parametrize("updates", [1, 3])
def test_a_whole_update_keeps_to_the_rule(updates: int, instructions: str) -> None:
    fast = updated(updates, "fused", torch.float32, "bf16")
    plain = updated(updates, "reference", torch.float32, plainly=True)
    exact = updated(updates, "reference", torch.float64)
    full = updated(updates, "fused", torch.float32, "fp32")
    for name in exact:
        assert_as_accurate(f"{instructions} {name}", fast[name], plain[name], exact[name])
    for name in ("actor.adam_first", "critic.adam_first"):
        assert not torch.equal(fast[name], full[name]), f"{name} was not rounded"


def test_the_actions_of_a_whole_update_are_clipped(instructions: str) -> None:
    """The critic sees actions of at most 1, although the policy leaves that range."""
    fast = updated(1, "fused", torch.float32, "bf16", bias=3.0)["metrics"]
    plain = updated(1, "reference", torch.float32, plainly=True, bias=3.0)["metrics"]
    exact = updated(1, "reference", torch.float64, bias=3.0)["metrics"]
    assert_as_accurate(f"{instructions} metrics", fast, plain, exact)


def test_an_agent_of_single_operations_is_rounded_too(instructions: str) -> None:
    def gradient(precision: str) -> Tensor:
        agent = agents.build("bc", tiny("bc"), 3, 2, (3,), "cpu", "fused", precision)
        agent.prepare(10)
        agent.update(synthetic_table(), 0)
        return agent.learners()["actor"].parameters.gradient.clone()

    rounded, full = gradient("bf16"), gradient("fp32")
    assert not torch.equal(rounded, full)
    assert torch.allclose(rounded, full, rtol=0, atol=0.02 * float(full.abs().max()))
