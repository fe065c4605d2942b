"""Which implementation runs: every fused operation is chosen here, once, and nowhere else."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.networks.parameters import Parameters
from gtp_fast.ops import (
    adam as ops_adam,
)
from gtp_fast.ops import (
    compiled,
    gradients,
    samplers,
    td,
)
from gtp_fast.ops import (
    embed as ops_embed,
)
from gtp_fast.ops import (
    loss as ops_losses,
)
from gtp_fast.ops import (
    mlp as ops_mlp,
)
from gtp_fast.ops import philox as native_philox
from gtp_fast.ops import (
    precision as ops_precision,
)
from gtp_fast.ops import (
    sampler as ops_sampler,
)
from gtp_fast.reference import FoldedPolicy, Perturbation, philox
from gtp_fast.reference.adam import Step, guarded, plain
from gtp_fast.system import native

BACKENDS = ("auto", "reference", "compiled", "fused")
_NAMES = ("perturb", "loss", "sampler", "mlp", "adam", "random")
# What torch.compile does not touch: one call of native code, where there is that.
_NOT_COMPILED = ("sampler", "random")


class Form(NamedTuple):
    """Which form of an operation runs, and why where it is not the fused one."""

    name: str
    reason: str


@dataclass(frozen=True)
class Operations:
    """The operations that a run uses, already chosen; `choices` says which and why."""

    perturb: Callable[..., Perturbation]
    loss: Callable[..., tuple[Tensor, Tensor]]
    sampler: Callable[..., samplers.Sampler]
    chain: Callable[..., samplers.Sampler]
    """The sampler as a training run uses it, on a GPU in the precision of the run."""
    mlp: Callable[..., Tensor]
    adam: Step
    differentiate: Callable[[Parameters, Tensor], None]
    embed: Callable[..., Tensor]
    td_loss: Callable[..., Tensor]
    weigh: Callable[..., tuple[Tensor, ...]]
    gather: Callable[..., Iterable[Tensor]]
    normals: Callable[..., Tensor]
    integers: Callable[..., Tensor]
    account: Callable[..., None]
    precision: str
    """What the products of the networks read."""
    triton: bool
    choices: dict[str, tuple[str, str]]

    @property
    def forms(self) -> dict[str, Form]:
        """The form of each operation: reference, compiled, native or triton."""

        def named(name: str, choice: str) -> str:
            if not choice.startswith("fused"):
                return choice
            return "triton" if self.triton and name != "sampler" else "native"

        return {
            name: Form(named(name, choice), reason)
            for name, (choice, reason) in self.choices.items()
        }

    def describe(self) -> str:
        """Say in one line what was chosen for each operation, and why where it is not the fused
        one.
        """
        return ", ".join(
            f"{name}: {choice}" + (f" ({reason})" if reason else "")
            for name, (choice, reason) in self.choices.items()
        )


def resolve(
    backend: str = "auto",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    precision: str = "fp32",
) -> Operations:
    """Choose the implementation of every operation.

    `reference` takes plain PyTorch; `compiled` puts torch.compile over it, one operation after the
    other; `fused` takes every fused operation or raises UserError with the reason; `auto` takes
    what can be had and records why the rest cannot.

    precision: what the matrix products of training read (`ops_precision.TRAINING`), networks and
    sampler alike, but that by single operations a CPU samples in fp32; another than fp32 is to be
    had of fused operations only, and of those of a CPU bf16 alone, else UserError.
    """
    if backend not in BACKENDS:
        raise UserError(f"Unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}.")
    device = torch.device(device)
    choices = {name: _choice(name, backend, device, dtype) for name in _NAMES}
    fused = {name for name, (choice, _) in choices.items() if choice == "fused"}
    # Triton replaces every training operation at once: their tensors share layouts.
    triton = "mlp" in fused and _triton_trains(device.type)
    draws: Any = native_philox if "random" in fused else philox
    normals, integers = draws.normals, draws.integers
    plain_gather = functools.partial(_gather, integers)
    sampler = ops_sampler.NativeSampler if "sampler" in fused else samplers.ReferenceSampler
    fused_mlp: Callable[..., Tensor] = ops_mlp.mlp if "mlp" in fused else reference.mlp
    plain_perturb = functools.partial(reference.perturb, normals=normals)
    chosen = Operations(
        perturb=ops_losses.native_perturb if "perturb" in fused else plain_perturb,
        loss=ops_losses.native_loss if "loss" in fused else reference.flow_map_loss,
        sampler=sampler,
        chain=sampler,
        mlp=fused_mlp,
        adam=ops_adam.fused if "adam" in fused else guarded(plain),
        differentiate=gradients.differentiate if "mlp" in fused else Parameters.differentiate,
        embed=ops_embed.embed if "mlp" in fused else reference.embed,
        td_loss=td.native_td_loss if "loss" in fused else reference.td_loss,
        weigh=td.native_weigh if "loss" in fused else reference.weigh,
        gather=native_philox.gather if "random" in fused else plain_gather,
        normals=normals,
        integers=integers,
        account=ops_adam.account if "adam" in fused else reference.tally,
        precision=precision,
        triton=triton,
        choices=choices,
    )
    reason = choices["mlp"][1] if backend in ("auto", "fused") else f"--backend is {backend}"
    ops_precision.check(precision, "mlp" in fused, triton, device, reason)
    if backend == "compiled":
        return _compiled(chosen)
    # Where the interpreter stands in for a GPU, the sampler is the CPU's, which knows no tf32.
    if device.type == "cuda":
        chosen = replace(chosen, chain=functools.partial(sampler, precision=precision))
    if triton:
        return _with_triton(chosen, backend == "fused", precision)
    rounds = precision != "fp32" and fused == set(_NAMES)
    return _rounded(chosen, precision) if rounds else chosen


def _rounded(chosen: Operations, precision: str) -> Operations:
    by = f"fused in {precision} by {native.module().bf16()}"
    return replace(
        chosen,
        mlp=functools.partial(ops_mlp.mlp, precision=precision),
        choices=chosen.choices | {"mlp": (by, "")},
    )


def _compiled(chosen: Operations) -> Operations:
    mlp = compiled.mlp()
    return replace(
        chosen,
        perturb=compiled.perturb(chosen.normals),
        loss=compiled.loss(),
        mlp=mlp,
        adam=guarded(compiled.adam()),
        embed=functools.partial(reference.embed, mlp=mlp),
    )


def _with_triton(chosen: Operations, strict: bool, precision: str) -> Operations:
    from gtp_fast.ops import triton as ops_triton

    return replace(
        chosen,
        perturb=ops_losses.triton_perturb,
        loss=ops_losses.triton_loss,
        mlp=functools.partial(ops_triton.mlp, precision=precision, strict=strict),
        adam=guarded(ops_triton.adam),
        differentiate=Parameters.differentiate,
        embed=ops_triton.embed,
        td_loss=td.triton_td_loss,
        weigh=td.triton_weigh,
        gather=ops_triton.gather,
        normals=ops_triton.normals,
        integers=ops_triton.integers,
        account=ops_triton.account,
    )


def _triton_trains(device_type: str) -> bool:
    """Return whether the kernels of training are Triton's: on a GPU, or under its interpreter."""
    return device_type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"


def _gather(
    integers: Callable[..., Tensor],
    table: Any,
    keys: Tensor,
    step: int | Tensor,
    stream: int,
    rows: int,
) -> Iterable[Tensor]:
    if table.lots is None:
        index = integers(keys, step, stream, rows, len(table))
    else:
        index = philox.lots(keys, step, stream, rows, table.lots)
    drawn: Iterable[Tensor] = table.gather(index)
    return drawn


def missing(device: torch.device | str, dtype: torch.dtype = torch.float32) -> list[str]:
    """Return what has no fused form on a device, each with the reason."""
    device = torch.device(device)
    reasons = {name: _unavailable(name, device, dtype) for name in _NAMES}
    return [f"{name}: {reason}" for name, reason in reasons.items() if reason]


def _choice(name: str, backend: str, device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    if backend == "reference":
        return "reference", "asked for"
    if backend == "compiled" and name not in _NOT_COMPILED:
        return "compiled", ""
    reason = _unavailable(name, device, dtype)
    if reason and backend == "fused":
        raise UserError(
            f"--backend fused cannot be had: {name} has no fused form here, {reason}; use "
            "--backend auto."
        )
    return ("reference", reason) if reason else ("fused", "")


def make_sampler(
    policy: FoldedPolicy,
    backend: str = "auto",
    device: torch.device | str | None = None,
    precision: str = "fp32",
) -> samplers.Sampler:
    """Return the K-step sampler of a folded policy on its own device (or on `device`).

    precision: `fp32`, or what the products read instead (`samplers.PRECISIONS`).
    """
    weight = policy.first_action
    if device is not None and torch.device(device).type != weight.device.type:
        policy = policy.to(device)
    make = resolve(backend, policy.first_action.device, weight.dtype).sampler
    return make(policy, precision=precision)


@functools.cache
def _triton_missing() -> str:
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"triton cannot be imported: {error}"
    return ""


def _unavailable(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """Return why the fused form of an operation cannot be had, or an empty string."""
    if dtype != torch.float32:
        return f"fused forms compute in float32, not {str(dtype).removeprefix('torch.')}"
    if name != "sampler" and _triton_trains(device.type):
        return _triton_missing()
    return native.missing(device.type)
