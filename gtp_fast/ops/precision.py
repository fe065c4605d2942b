"""The precision that a training run may ask for, and who has it."""

from __future__ import annotations

import torch

from gtp_fast.errors import UserError
from gtp_fast.ops import samplers
from gtp_fast.system import native

TRAINING = ("fp32", "tf32", "bf16")
"""What the matrix products of training may read."""


def check(precision: str, fused: bool, triton: bool, device: torch.device, reason: str) -> None:
    """Raise UserError, with the reason, unless training can be had in this precision.

    fused: whether the networks have a fused form, else `reason` says why not; triton: whether it is
    that of the Triton kernels.
    """
    if samplers.checked(precision, TRAINING) == "fp32":
        return
    if precision == "tf32" and not triton:
        why = reason if device.type == "cuda" else f"the run is on {device.type}"
        raise UserError(
            "--precision tf32 cannot be had: only the fused operations of a CUDA GPU have it, and "
            f"{why}; use --precision fp32."
        )
    if not fused:
        raise UserError(
            f"--precision {precision} cannot be had: only fused operations have it, and {reason}; "
            "use --precision fp32."
        )
    if not triton and not native.module().bf16():
        raise UserError(
            f"--precision {precision} cannot be had: this processor multiplies no bfloat16, for "
            "which it needs AMX or AVX-512 BF16; use --precision fp32."
        )
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        raise UserError(
            f"--precision {precision} cannot be had: it needs the tensor cores of compute "
            f"capability 8.0 or newer, and {torch.cuda.get_device_name(device)} is older; use "
            "--precision fp32."
        )
