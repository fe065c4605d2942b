"""Values, TD loss and deltas of twin critics in one CUDA launch of clusters (eq. 16)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtp_fast.errors import UserError
from gtp_fast.system import native

TILE = 16
"""Rows of a batch that a cluster takes."""


class Deltas(NamedTuple):
    """What weight gradients read, and the losses.

    hidden, deltas: [D, 2 S, B, H]; gradient: of the values, [2 S, B, 1]; losses: [S, n], whose sum
    is that of a seed.
    """

    hidden: Tensor
    deltas: Tensor
    gradient: Tensor
    losses: Tensor


class ClusterCritics:
    """Twin critics in place on a device; what `mlp_pair` and `critic_chain` do in Triton.

    sizes: observation, action, width, hidden layers, and next actions M of each row; parameters:
    online and target, [2 S, P] of one stride, twins 2 s and 2 s + 1 of seed s; copies: of both in
    bf16, by `dense.aligned_rows`.
    """

    def __init__(
        self,
        sizes: tuple[int, int, int, int, int],
        parameters: tuple[Tensor, Tensor],
        copies: tuple[Tensor, Tensor],
        precision: str,
    ):
        """Raise UserError with the reason where the kernel cannot serve."""
        if precision != "bf16":
            raise refused(
                f"it is built for bf16, not {precision}: a cluster holds the weights of four "
                "networks in two bytes each"
            )
        if any(x.dtype != torch.bfloat16 for x in copies):
            raise refused("it reads bf16 copies of the weights, which the option copies makes")
        observation, action, width, depth, _ = self.sizes = sizes
        count = (observation + action + 2) * width + (depth - 1) * (width + 1) * width + 1
        shapes = [tuple(x.shape) for x in (*parameters, *copies)]
        if shapes != [(len(parameters[0]), count)] * 4:
            raise refused(f"critics of {count} parameters each came as tensors of {shapes}")
        device = parameters[0].device
        for pair, dtype in ((parameters, torch.float32), (copies, torch.bfloat16)):
            found = [(x.dtype, x.device, x.stride()) for x in pair]
            if found != [(dtype, device, (pair[0].stride(0), 1))] * 2:
                raise refused(f"it reads rows of one stride in {dtype} on {device}, not {found}")
        self.parameters, self.copies = parameters, copies
        self.native = prepared(device, sizes)

    def __call__(
        self,
        inputs: tuple[Tensor, Tensor],
        next_inputs: tuple[Tensor, Tensor],
        reward: Tensor,
        mask: Tensor,
        discount: float,
    ) -> Deltas:
        """Return the deltas of the online critics.

        inputs: observation [S, B, O] and action [S, B, A]; next_inputs: the same for M next actions
        of each row, [S, M B, .]; reward, mask: [S, B]. All are float32 on the parameters' device.
        UserError for others.
        """
        observation, action, width, depth, repeats = self.sizes
        S, B = reward.shape
        shapes = [tuple(x.shape) for x in (*inputs, *next_inputs, mask)]
        expected = [(S, n * B, k) for n in (1, repeats) for k in (observation, action)] + [(S, B)]
        if shapes != expected or len(self.copies[0]) != 2 * S:
            raise UserError(f"The critics take inputs and a mask of {expected}, not {shapes}.")
        device = self.parameters[0].device
        found = [(x.dtype, x.device) for x in (*inputs, *next_inputs, reward, mask)]
        if {*found} != {(torch.float32, device)}:
            raise UserError(f"The critics read torch.float32 on {device}, not {found}.")
        # Bound to names, so that copies outlive the call.
        rows = [_rows(x) for x in (*inputs, *next_inputs)]
        scalars = [x.contiguous() for x in (reward, mask)]
        networks = [x for pair in zip(self.parameters, self.copies, strict=True) for x in pair]
        made = Deltas(*(
            torch.empty(shape, dtype=torch.float32, device=device)
            for shape in (*[(depth, 2 * S, B, width)] * 2, (2 * S, B, 1), (S, 2 * -(-B // TILE)))
        ))  # fmt: skip
        addresses = [x.data_ptr() for x in (*rows, *scalars, *networks, *made)]
        strides = [x.stride(0) for x in (*rows, self.parameters[0], self.copies[0])]
        self.native.run(S, B, discount, addresses, strides, _stream(device))
        return made


def prepared(device: torch.device, sizes: tuple[int, ...]) -> Any:
    """Return the native critics of these sizes on a device; UserError with the reason."""
    if device.type != "cuda":
        raise refused(f"it runs on a GPU, not on {device}")
    if reason := native.missing("cuda"):
        raise refused(reason)
    try:
        with torch.cuda.device(device):
            return native.module().CudaCritics(*sizes)
    except ValueError as error:
        raise refused(str(error)) from error


def refused(reason: str) -> UserError:
    """Return the error of a launch option that is not available, with the reason."""
    return UserError(f"The launch option critics_together is not available: {reason}.")


def _rows(x: Tensor) -> Tensor:
    """Return x with contiguous rows in each seed."""
    return x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous()


def _stream(device: torch.device) -> int:
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
