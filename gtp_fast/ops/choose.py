"""Which form of every operation runs: chosen here, once, and nowhere else."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import torch

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.networks.parameters import Parameters
from gtp_fast.ops import (
    adam,
    embed,
    gather,
    gradients,
    loss,
    mlp,
    perturb,
    philox,
    precision,
    sampler,
    sampling,
    tally,
    td,
    weigh,
)
from gtp_fast.ops.context import Context
from gtp_fast.ops.operations import Form, Operations
from gtp_fast.reference import FoldedPolicy
from gtp_fast.system import native
from gtp_fast.system.device import elsewhere

BACKENDS = ("auto", "reference", "compiled", "fused")
TABLE: dict[str, dict[str, Any]] = {
    "perturb": perturb.FORMS,
    "loss": loss.FORMS,
    "weigh": weigh.FORMS,
    "td": td.FORMS,
    "sampler": sampler.FORMS,
    "mlp": mlp.FORMS,
    "embed": embed.FORMS,
    "adam": adam.FORMS,
    "tally": tally.FORMS,
    "philox": philox.FORMS,
    "gather": gather.FORMS,
}
"""Every operation's forms, by name: reference, compiled, native or triton."""
# torch.compile leaves these alone: each is one call of native code.
_NOT_COMPILED = ("sampler", "philox", "gather")


def resolve(
    backend: str = "auto",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    precision: str = "fp32",
    layer_norms: bool = False,
) -> Operations:
    """Choose the form of every operation.

    `reference`: plain PyTorch. `compiled`: torch.compile over it, one operation after another.
    `fused`: the fused form of every operation, or UserError with the reason. `auto`: what is
    available; the reason is recorded where that is the reference.

    precision: what the matrix products of training read (`ops.precision.TRAINING`), in networks
    and sampler. CPU: fp32 or bf16 (the sampler of single operations stays fp32). GPU: fp32, tf32,
    bf16. Anything but fp32 needs fused operations; UserError otherwise.
    layer_norms: whether the critic has them, which no Triton kernel has.
    """
    device = torch.device(device)
    forms = {name: _form(name, backend, device, dtype) for name in TABLE}
    if layer_norms and forms["mlp"].name == "triton":
        forms["critic"] = _pytorch_critic(backend)
    _check_precision(precision, forms, backend, device)
    draws = philox.FORMS[forms["philox"].name]
    context = Context(draws.normals, reference.mlp, precision, backend == "fused")
    context = context._replace(mlp=mlp.FORMS[forms["mlp"].name](context))
    made = {
        name: TABLE[name][forms[name].name](context)
        for name in ("perturb", "loss", "weigh", "td", "embed", "adam", "tally", "gather")
    }
    beyond = dict[str, Form]()
    makes_sampler = _sampler_form(forms["sampler"], backend, beyond)
    differentiate = gradients.FORMS.get(forms["mlp"].name, Parameters.differentiate)
    chain = makes_sampler
    # Where the interpreter stands in for a GPU, the sampler is the CPU's, which has no tf32.
    if device.type == "cuda" and backend != "compiled":
        chain = functools.partial(makes_sampler, precision=precision)
    return Operations(
        perturb=made["perturb"],
        loss=made["loss"],
        weigh=made["weigh"],
        td_loss=made["td"],
        embed=made["embed"],
        adam=made["adam"],
        tally=made["tally"],
        gather=made["gather"],
        sampler=makes_sampler,
        chain=chain,
        mlp=context.mlp,
        affine=mlp.AFFINE[forms["mlp"].name](context),
        differentiate=differentiate,
        normals=draws.normals,
        integers=draws.integers,
        precision=precision,
        forms=forms,
        beyond=beyond,
    )


def make_sampler(
    policy: FoldedPolicy,
    backend: str = "auto",
    device: torch.device | str | None = None,
    precision: str = "fp32",
) -> sampling.Sampler:
    """Return the K-step sampler of a folded policy on its own device (or on `device`).

    precision: `fp32`, or what the products read instead (`ops.precision.PRECISIONS`).
    """
    weight = policy.first_action
    if device is not None and elsewhere(device, weight.device):
        policy = policy.to(device)
    form = _form("sampler", backend, policy.first_action.device, weight.dtype)
    return _sampler_form(form, backend, {})(policy, precision=precision)


def missing(device: torch.device | str, dtype: torch.dtype = torch.float32) -> list[str]:
    """Return the operations without a fused form on a device, each with the reason."""
    device = torch.device(device)
    reasons = {name: _unavailable(name, device, dtype) for name in TABLE}
    return [f"{name}: {reason}" for name, reason in reasons.items() if reason]


def _sampler_form(
    form: Form, backend: str, beyond: dict[str, Form]
) -> Callable[..., sampling.Sampler]:
    """Return what makes samplers; it notes in `beyond` where sizes leave one to PyTorch."""
    made = sampler.FORMS[form.name]
    if form.name != "native":
        return made
    # No closure: operations are copied and pickled together with what they note.
    note = functools.partial(_note_sampler, beyond)
    return functools.partial(made, strict=backend == "fused", note=note)


def _note_sampler(beyond: dict[str, Form], reason: str) -> None:
    beyond["sampler"] = Form("reference", reason)


def _check_precision(
    asked: str, forms: dict[str, Form], backend: str, device: torch.device
) -> None:
    form, sampling = forms["mlp"], forms["sampler"]
    reason = form.reason if backend in ("auto", "fused") else f"--backend is {backend}"
    fused = form.name in ("native", "triton")
    precision.check(asked, fused, form.name == "triton", device, reason)
    if asked == "tf32" and device.type == "cuda" and sampling.name == "reference":
        raise UserError(
            f"--precision tf32 is not available: the sampler of an update has no fused form here, "
            f"{sampling.reason}; use --precision fp32."
        )


def _form(name: str, backend: str, device: torch.device, dtype: torch.dtype) -> Form:
    if backend not in BACKENDS:
        raise UserError(f"Unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}.")
    if backend == "reference":
        return Form("reference", "asked for")
    if backend == "compiled" and name not in _NOT_COMPILED:
        return Form("compiled") if "compiled" in TABLE[name] else Form("reference", "not compiled")
    reason = _unavailable(name, device, dtype)
    if reason and backend == "fused":
        raise UserError(
            f"--backend fused is not available here: {name} has no fused form, {reason}; use "
            "--backend auto."
        )
    if reason:
        return Form("reference", reason)
    return Form("triton" if "triton" in TABLE[name] and _triton_trains(device.type) else "native")


def _pytorch_critic(backend: str) -> Form:
    """Return the form of a critic with layer norms on a GPU; UserError where it must be fused."""
    reason = "no Triton kernel has layer norms"
    if backend == "fused":
        raise UserError(
            f"--backend fused is not available for this agent's critic: {reason}; use --backend "
            "auto."
        )
    return Form("reference", reason)


def _triton_trains(device_type: str) -> bool:
    """Return whether Triton runs the training: on a GPU, or under its interpreter.

    It replaces every training operation at once: their tensors share layouts.
    """
    return device_type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def _triton_missing() -> str:
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"triton cannot be imported: {error}"
    return ""


def _unavailable(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """Return why an operation has no fused form here, or an empty string."""
    if dtype != torch.float32:
        return f"fused forms compute in float32, not {str(dtype).removeprefix('torch.')}"
    if "triton" in TABLE[name] and _triton_trains(device.type):
        return _triton_missing()
    return native.missing(device.type)
