"""Plain PyTorch at a lower precision: matrix products read rounded operands and sum in float32."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gtp_fast import reference

if TYPE_CHECKING:
    # Agents need gymnasium, which the tests of kernels do without.
    from gtp_fast.agents.gtp import GTP


def to_bf16(x: Tensor) -> Tensor:
    """Round float32 to the nearest bfloat16, and keep it as float32."""
    return x.bfloat16().float()


def to_tf32(x: Tensor) -> Tensor:
    """Round float32 to ten bits of mantissa, ties away from zero."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


ROUND: dict[str, Callable[[Tensor], Tensor]] = {
    "fp32": lambda x: x,
    "tf32": to_tf32,
    "bf16": to_bf16,
}


class RoundedProducts(TorchFunctionMode):
    """Inside this context, every `@` rounds both its operands to a precision."""

    def __init__(self, precision: str):
        super().__init__()
        self.round = ROUND[precision]
        self.products = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func in (torch.matmul, Tensor.matmul, Tensor.__matmul__):
            args = tuple(map(self.round, args))
            self.products += 1
        return func(*args, **(kwargs or {}))


class RoundedProduct(torch.autograd.Function):
    """A product whose float32 operands are rounded, forward and backward, summed in float32."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, rounded: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.rounded = rounded
        return rounded(a) @ rounded(b)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b, g = map(ctx.rounded, (*ctx.saved_tensors, g))
        return g @ b.mT, a.mT @ g, None


def rounded_mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str,
    precision: str = "bf16",
    norms: Sequence[reference.Norm] = (),
) -> Tensor:
    act, rounded = reference.ACTIVATIONS[activation], ROUND[precision]
    for i, (weight, bias) in enumerate(zip(weights[:-1], biases[:-1], strict=True)):
        x = act(RoundedProduct.apply(x, weight, rounded) + bias[:, None])
        x = reference.layer_norm(x, *norms[i]) if norms else x
    return RoundedProduct.apply(x, weights[-1], rounded) + biases[-1][:, None]


def rounded_pieces(
    x: Tensor | Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str = "mish",
    precision: str = "bf16",
    norms: Sequence[reference.Norm] = (),
) -> Tensor:
    """Do `reference.mlp`, its products at a precision."""
    whole = reference.join(x, weights[0].shape[0])
    return rounded_mlp(whole, weights, biases, activation, precision, norms)


class _RoundedChain:
    """The sampler of a training run whose products are rounded."""

    draws = 1

    def __init__(self, agent: GTP):
        self.agent = agent

    def load(self, policy: reference.FoldedPolicy) -> None:
        """The agent's own weights are read."""

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        agent, batch = self.agent, SimpleNamespace(observation=observation)
        full = torch.ones(observation.shape[:2], device=observation.device)
        return reference.sample(
            lambda a, t, tau: agent.clean(
                agent.actor.average_views, a, t * full, tau * full, batch
            ),
            noise, agent.times,
        )  # fmt: skip


def round_products(agent: GTP, precision: str = "bf16") -> GTP:
    """Let an agent on plain PyTorch round what its products read; return it."""
    for network in (agent.network, agent.critic.network):
        network.form = functools.partial(rounded_pieces, precision=precision)
    agent.chain = _RoundedChain(agent)
    return agent
