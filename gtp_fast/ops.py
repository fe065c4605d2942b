"""Which implementation runs: every fused operation is chosen here, once, and nowhere else."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gtp_fast import native, random, reference, samplers
from gtp_fast.errors import UserError
from gtp_fast.reference import FoldedPolicy, Perturbation

BACKENDS = ("auto", "reference", "fused")
_NAMES = ("perturb", "loss", "sampler", "mish", "random")


@dataclass(frozen=True)
class Operations:
    """The operations that a run uses, already chosen; `choices` says which and why."""

    perturb: Callable[..., Perturbation]
    loss: Callable[..., tuple[Tensor, Tensor]]
    sampler: Callable[..., samplers.Sampler]
    mish: Callable[[Tensor], Tensor]
    normals: Callable[..., Tensor]
    integers: Callable[..., Tensor]
    choices: dict[str, tuple[str, str]]

    def describe(self) -> str:
        """Say in one line what was chosen for each operation, and why where it is not the fused
        one.
        """
        return ", ".join(
            f"{name}: {choice}" + (f" ({reason})" if reason else "")
            for name, (choice, reason) in self.choices.items()
        )


def resolve(
    backend: str = "auto", device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Operations:
    """Choose the implementation of every operation.

    `reference` takes plain PyTorch; `fused` takes every fused operation or raises UserError with
    the reason; `auto` takes what can be had and records why the rest cannot.
    """
    if backend not in BACKENDS:
        raise UserError(f"Unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}.")
    device = torch.device(device)
    choices: dict[str, tuple[str, str]] = {}
    for name in _NAMES:
        reason = "asked for" if backend == "reference" else _unavailable(name, device, dtype)
        if reason and backend == "fused":
            raise UserError(
                f"--backend fused cannot be had: {name} has no fused form here, {reason}; use "
                "--backend auto."
            )
        choices[name] = ("reference", reason) if reason else ("fused", "")
    fused = {name for name, (choice, _) in choices.items() if choice == "fused"}
    normals = _fused_normals if "random" in fused else random.normals
    perturb = functools.partial(reference.perturb, normals=normals)
    return Operations(
        perturb=_fused_perturb if "perturb" in fused else perturb,
        loss=_fused_loss if "loss" in fused else reference.flow_map_loss,
        sampler=NativeSampler if "sampler" in fused else samplers.ReferenceSampler,
        mish=_fused_mish if "mish" in fused else reference.mish,
        normals=normals,
        integers=_fused_integers if "random" in fused else random.integers,
        choices=choices,
    )


def sampler(
    policy: FoldedPolicy,
    backend: str = "auto",
    device: torch.device | str | None = None,
    precision: str = "fp32",
) -> samplers.Sampler:
    """Return the K-step sampler of a folded policy on its own device (or on `device`).

    precision: `fp32`, or what the products read instead (`samplers.PRECISIONS`).
    """
    if precision not in samplers.PRECISIONS:
        names = ", ".join(samplers.PRECISIONS)
        raise UserError(f"Unknown precision {precision!r}: choose one of {names}.")
    weight = policy.first_action
    if device is not None and torch.device(device).type != weight.device.type:
        policy = policy.to(device)
    make = resolve(backend, policy.first_action.device, weight.dtype).sampler
    return make(policy, precision=precision)


class NativeSampler:
    """The sampler of csrc: every step of every row in one call, or in one CUDA launch.

    precision: what matrix products read (`samplers.PRECISIONS`); tf32 is a GPU's alone.
    """

    def __init__(self, policy: FoldedPolicy, precision: str = "fp32"):
        seeds, observation_dim, width = policy.first_observation.shape
        self.weight = policy.first_action
        self.on_gpu = self.weight.device.type == "cuda"
        depth, steps = len(policy.hidden_weights) + 1, policy.c_in.shape[0]
        module = native.module()
        kind = module.CudaSampler if self.on_gpu else module.Sampler
        self.draws, self.precision = policy.draws, precision
        if precision == "tf32" and not self.on_gpu:
            raise UserError("Precision tf32 is to be had on a GPU only: choose fp32 or bf16.")
        try:
            self.native = kind(
                seeds, observation_dim, self.weight.shape[1], width, depth, steps,
                policy.activation, policy.clamp, self.draws > 1, precision,
            )  # fmt: skip
        except ValueError as error:
            raise UserError(f"The native sampler cannot be had: {error}.") from error
        self.threads = torch.get_num_threads()
        # One action is one call, with no frame of Python between.
        self.action = self._action if self.on_gpu else self.native.action
        self.load(policy)

    def load(self, policy: FoldedPolicy) -> None:
        """Pack new weights of the same shapes and form in place."""
        # Kept alive: on a GPU the copy may still be under way when this returns.
        self.flat = policy.flatten()
        self.native.load(
            self.flat.data_ptr(), self.flat.numel(), policy.initial_scale, *self._stream()
        )

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Map observation [S, B, O] and noise to actions [S, B, A]; noise is [S, B, A], or
        [S, draws, B, A] where draws > 1.
        """
        observation, noise = observation.contiguous(), noise.contiguous()
        out = noise.new_empty((*observation.shape[:2], noise.shape[-1]))
        pointers = (observation.data_ptr(), noise.data_ptr(), out.data_ptr(), out.shape[1])
        if self.on_gpu:
            self.native.sample(*pointers, *self._stream())
        else:
            self.native.sample_pointers(*pointers, self.threads)
        return out

    def act(self, observation: samplers.Rows, out: samplers.Rows, seed: int, step: int) -> None:
        """Write the actions of one policy for observation [B, O] into out [B, A]."""
        if self.on_gpu:
            samplers.act_through_torch(self, self.weight, observation, out, seed, step)
        else:
            self.native.act(observation, out, seed, step, self.threads)

    def _action(self, observation: samplers.Rows, seed: int, step: int) -> samplers.Rows | None:
        return samplers.action_through_act(self, self.weight.shape[1], observation, seed, step)

    def describe(self) -> str:
        """Name the implementation; on a GPU also the kernels that it takes for some batches."""
        words = f"native, {native.describe()}"
        if self.on_gpu:
            return words + "".join(f"; batch {b}: {self.kernel(b)}" for b in (1, 256, 16384))
        return words + (", bf16 weights" if self.precision == "bf16" else "")

    def kernel(self, batch: int) -> str:
        """Name the CUDA kernel that serves a batch, in words."""
        words: str = self.native.describe(batch)
        return words

    def _stream(self) -> tuple[int, ...]:
        return (torch.cuda.current_stream(self.weight.device).cuda_stream,) if self.on_gpu else ()


@functools.cache
def _triton_missing(device_type: str) -> str:
    if device_type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        return "Triton compiles for GPUs only"
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"triton cannot be imported: {error}"
    return ""


def _unavailable(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """Return why the fused form of an operation cannot be had, or an empty string."""
    if dtype != torch.float32:
        return f"fused forms compute in float32, not {str(dtype).removeprefix('torch.')}"
    if name in ("perturb", "loss"):
        return _triton_missing(device.type)
    if device.type == "cuda" and name in ("mish", "random"):
        # PyTorch's own CUDA forms of these fuse into a captured graph; a kernel of ours would not
        # be faster.
        return "on a GPU PyTorch's own operations serve"
    return native.missing(device.type)


def _fused_perturb(
    a: Tensor,
    nodes: Tensor,
    num_nodes: int | Tensor,
    keys: Tensor,
    step: int | Tensor,
    *,
    u_mode: str = "adjacent",
    kind: str = "edm",
    sigma_data: float = 0.5,
    t_min: float = 0.002,
    dtype: torch.dtype | None = None,
) -> Perturbation:
    from gtp_fast.kernels import perturb

    fields = perturb.perturb(
        a,
        nodes,
        num_nodes,
        keys,
        step,
        u_mode=u_mode,
        precondition=kind,
        sigma_data=sigma_data,
        t_min=t_min,
        dtype=dtype or torch.float32,
    )
    return Perturbation(**fields)


def adam_polyak_(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    average: Tensor,
    updates: int,
    rate: Tensor,
    ema_rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> None:
    """Do `reference.adam` and `reference.polyak` in place on flat buffers [S, P]; rate [S, 1];
    updates from 1.
    """
    with torch.no_grad():
        first.lerp_(gradient, 1 - betas[0])
        second.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
        scale = second.sqrt().mul_((1 - betas[1] ** updates) ** -0.5).add_(eps)
        parameter.sub_(torch.div(first, scale).mul_(rate / (1 - betas[0] ** updates)))
        average.lerp_(parameter, ema_rate)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, a: Tensor, w: Tensor, *rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        from gtp_fast.kernels import loss

        consistency, flow, gradient = loss.loss(student, teacher, a, *rows, w)
        ctx.save_for_backward(gradient)
        return consistency, flow

    @staticmethod
    def backward(ctx: Any, g_consistency: Tensor, g_flow: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        half = gradient.shape[1] // 2
        # The upstream factors stay float32: rounded to bf16 they would cost the gradient a digit.
        scale = torch.stack((g_consistency, g_flow), 1).repeat_interleave(half, 1)
        return ((gradient * scale[..., None]).to(gradient.dtype), *(None,) * 11)


def _fused_loss(
    student: Tensor, teacher: Tensor, a: Tensor, p: Perturbation, w: Tensor
) -> tuple[Tensor, Tensor]:
    rows = (p.a_t, p.a_u, p.q_t, p.q_u, p.skip_t, p.out_t, p.skip_u, p.out_u)
    consistency, flow = _Loss.apply(student, teacher.detach(), a, w.detach(), *rows)  # type: ignore[no-untyped-call]
    return consistency, flow


class _Mish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        slope = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        native.module().mish(
            x.data_ptr(), y.data_ptr(), 0 if slope is None else slope.data_ptr(), x.numel()
        )
        if slope is not None:
            ctx.save_for_backward(slope)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        slope: Tensor = ctx.saved_tensors[0]
        return gradient * slope


def _fused_mish(x: Tensor) -> Tensor:
    result: Tensor = _Mish.apply(x)  # type: ignore[no-untyped-call]
    return result


def _fused_normals(
    keys: Tensor,
    step: int,
    stream: int,
    rows: int,
    columns: int,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    out = torch.empty(keys.shape[0], rows, columns, dtype=dtype)
    native.module().normals(
        keys.data_ptr(), keys.shape[0], int(step), int(stream), out.data_ptr(), rows, columns
    )
    return out


def _fused_integers(keys: Tensor, step: int, stream: int, rows: int, bound: int) -> Tensor:
    out = torch.empty(keys.shape[0], rows, dtype=torch.int64)
    native.module().integers(
        keys.data_ptr(), keys.shape[0], int(step), int(stream), out.data_ptr(), rows, bound
    )
    return out
