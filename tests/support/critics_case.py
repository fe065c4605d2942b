"""The TD step of twin critics: its inputs, its definition, and its cluster kernel on the host."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from rounded import ROUND, RoundedProduct
from tolerance import assert_as_accurate
from torch import Tensor
from triton_cases import generator

from gtp_fast import reference
from gtp_fast.ops.critics import ClusterCritics

HOPPER, AMPERE = (132, 232448, 90), (108, 166912, 80)
"""Multiprocessors, bytes of shared memory for a block, capability."""
DISCOUNT = 0.9


class Shape(NamedTuple):
    """Seeds, observation, action, width, hidden layers, next actions of a row, rows."""

    S: int = 1
    O: int = 29  # noqa: E741
    A: int = 8
    H: int = 256
    D: int = 3
    M: int = 1
    B: int = 17


class Emulated:
    """The native critics of one shape on an emulated card."""

    def __init__(self, library: ctypes.CDLL, sizes: Sequence[int], card: tuple[int, ...] = HOPPER):
        self.library, self.sizes, self.card = library, sizes, card

    def run(
        self, seeds: int, rows: int, discount: float, addresses: Sequence[int],
        strides: Sequence[int], stream: int,
    ) -> None:  # fmt: skip
        """Do what `CudaCritics.run` does; ValueError with its text."""
        text = ctypes.create_string_buffer(200)
        clusters = self.library.gtp_critics(
            (ctypes.c_int * 3)(*self.card), (ctypes.c_int * 6)(*self.sizes, seeds),
            ctypes.c_int64(rows), ctypes.c_float(discount),
            (ctypes.c_size_t * 14)(*addresses), (ctypes.c_int64 * 6)(*strides), text,
        )  # fmt: skip
        if clusters == 0:
            raise ValueError(text.value.decode())


class Case:
    """Inputs of one TD step; states lie inside longer tensors, as an update draws them."""

    def __init__(self, shape: Shape, device: str = "cpu"):
        from gtp_fast.kernels import dense

        S, O, A, H, D, M, B = self.shape = shape  # noqa: E741
        draw = generator(3)
        self.sizes = [(O + A, H), *[(H, H)] * (D - 1), (H, 1)]
        self.parameters = tuple(
            torch.cat(
                [
                    part
                    for k, n in self.sizes
                    for part in (
                        torch.randn(2 * S, k * n, generator=draw) * (1.5 / k**0.5),
                        0.3 * torch.randn(2 * S, n, generator=draw),
                    )
                ],
                1,
            ).to(device)
            for _ in range(2)
        )
        states = torch.randn(S, (M + 2) * B, O, generator=draw).to(device)
        actions = torch.rand(S, (M + 1) * B, A, generator=draw).to(device) * 2 - 1
        self.next = states[:, : M * B], actions[:, : M * B]
        self.now = states[:, M * B : -B], torch.rand(S, B, A, generator=draw).to(device) * 2 - 1
        self.reward = torch.randn(S, B, generator=draw).to(device)
        self.mask = (torch.rand(S, B, generator=draw) < 0.8).float().to(device)
        self.copies = tuple(dense.aligned_rows(x, torch.bfloat16) for x in self.parameters)

    def fast(self) -> dict[str, Tensor]:
        """Return what the kernel writes, the losses summed."""
        made = ClusterCritics(self.shape[1:6], self.parameters, self.copies, "bf16")
        found = made(self.now, self.next, self.reward, self.mask, DISCOUNT)
        results = found._asdict()
        results["losses"] = results["losses"].sum(1)
        return results

    def plain(self, dtype: torch.dtype, precision: str = "fp32") -> dict[str, Tensor]:
        """Return the same by PyTorch; precision: of the products' factors."""
        sums: list[Tensor] = []
        hidden: list[Tensor] = []
        values = self._values(self.parameters[0], self.now, dtype, precision, (sums, hidden))
        following = self._values(self.parameters[1], self.next, dtype, precision)
        loss = reference.td_loss(
            _twins(values), _twins(following.detach()), self.reward.to(dtype), self.mask.to(dtype),
            DISCOUNT,
        )  # fmt: skip
        gradients = torch.autograd.grad(loss.sum(), [*sums, values])
        return {
            "hidden": torch.stack(hidden).detach(),
            "deltas": torch.stack(gradients[:-1]),
            "gradient": gradients[-1],
            "losses": loss.detach(),
        }

    def _values(
        self, flat: Tensor, pieces: tuple[Tensor, Tensor], dtype: torch.dtype, precision: str,
        kept: tuple[list[Tensor], list[Tensor]] | None = None,
    ) -> Tensor:  # fmt: skip
        """Return Q [2 S, B, 1]; add each hidden layer's sums and activations to `kept`."""
        rounded: Callable[[Tensor], Tensor] = ROUND[precision]
        x = torch.cat(pieces, -1).to(dtype).repeat_interleave(2, 0)
        parts = flat.to(dtype).requires_grad_().split([k * n for k, n in _pairs(self.sizes)], 1)
        for i, (k, n) in enumerate(self.sizes):
            z = RoundedProduct.apply(x, parts[2 * i].unflatten(1, (k, n)), rounded)
            z = z + parts[2 * i + 1][:, None]
            x = reference.ACTIVATIONS["mish"](z)
            if kept is not None and n > 1:
                kept[0].append(z)
                kept[1].append(x)
        return z

    def check(self) -> None:
        """Hold the kernel to the comparison rule."""
        fast, plain = self.fast(), self.plain(torch.float32, "bf16")
        exact = self.plain(torch.float64)
        for name, value in exact.items():
            assert_as_accurate(f"{name} of {self.shape}", fast[name], plain[name], value)


def _pairs(sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the sizes of weight and bias of each layer."""
    return [pair for k, n in sizes for pair in ((k, n), (1, n))]


def _twins(values: Tensor) -> Tensor:
    """Return [2 S, B, 1] as [2, S, B]."""
    return values.view(-1, 2, values.shape[1]).transpose(0, 1)
