"""What matrix products read, and which device and processor have it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gtp_fast.errors import UserError
from gtp_fast.system import native

PRECISIONS = ("fp32", "tf32", "bf16", "int8")
"""What matrix products read; sums are float32, and exact in int8. On a CPU bf16 halves what an
action reads: hidden weights are rounded to bfloat16, and so are their inputs where the processor
multiplies pairs of them; int8 quarters it: hidden weights have 8 bits and a scale for each output
unit, their inputs 16 and a scale for each row. Everything else stays float32. On a GPU tf32 and
bf16 are for its tensor cores: weights and inputs of every layer are rounded. tf32 is available on a
GPU only, int8 on a CPU only."""
TRAINING = ("fp32", "tf32", "bf16")
"""What the matrix products of training may read."""


def checked(precision: str, known: Sequence[str] = PRECISIONS) -> str:
    """Return a precision; UserError unless it is one of these."""
    if precision not in known:
        names = f"{', '.join(known[:-1])} or {known[-1]}"
        raise UserError(f"Unknown precision {precision!r}: choose {names}.")
    return precision


def check_sampler(precision: str, on_gpu: bool) -> str:
    """Return a precision; UserError unless the native sampler has it on this kind of device."""
    if checked(precision) == "tf32" and not on_gpu:
        raise UserError("Precision tf32 is available on a GPU only: choose fp32, bf16 or int8.")
    if precision == "int8" and on_gpu:
        raise UserError(
            "Precision int8 is available on a CPU only, where it saves cache: choose fp32, "
            "tf32 or bf16."
        )
    return precision


def check_reference_sampler(precision: str) -> str:
    """Return a precision; UserError unless the reference's sampler computes in it."""
    if checked(precision) == "tf32":
        raise UserError(
            "Precision tf32 is not available: the native sampler of a GPU has it, PyTorch's "
            "computes in fp32, bf16 or int8; choose one of these."
        )
    return precision


def check(precision: str, fused: bool, triton: bool, device: torch.device, reason: str) -> None:
    """Raise UserError, with the reason, unless networks train in this precision on a device.

    fused: whether they have a fused form, else `reason` says why not. triton: whether that is
    Triton's.
    """
    if checked(precision, TRAINING) == "fp32":
        return
    if precision == "tf32" and not triton:
        why = reason if device.type == "cuda" else f"the run is on {device.type}"
        raise UserError(
            "--precision tf32 is not available: only the fused operations of a CUDA GPU have it, "
            f"and {why}; use --precision fp32."
        )
    if not fused:
        raise UserError(
            f"--precision {precision} is not available: only fused operations have it, and "
            f"{reason}; use --precision fp32."
        )
    if not triton and not native.module().bf16():
        raise UserError(
            f"--precision {precision} is not available: this processor multiplies no bfloat16, for "
            "which it needs AMX or AVX-512 BF16; use --precision fp32."
        )
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        raise UserError(
            f"--precision {precision} is not available: it needs the tensor cores of compute "
            f"capability 8.0 or newer, and {torch.cuda.get_device_name(device)} is older; use "
            "--precision fp32."
        )
