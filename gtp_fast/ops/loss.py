"""The perturbation and the losses of the flow map: native on a CPU, Triton on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtp_fast.reference import PRECONDITIONINGS, U_MODES, Perturbation
from gtp_fast.reference.philox import Stream
from gtp_fast.system import native

_ROW_FIELDS = ("t", "u", "tau", "r_t", "q_t", "r_u", "q_u", "skip_t", "out_t", "skip_u", "out_u")


def native_perturb(
    a: Tensor,
    nodes: Tensor,
    num_nodes: int | Tensor,
    keys: Tensor,
    step: int | Tensor,
    *,
    u_mode: str = "adjacent",
    cdf: Tensor | None = None,
    kind: str = "edm",
    sigma_data: float = 0.5,
    t_min: float = 0.002,
) -> Perturbation:
    """Do `reference.perturb` in native code, float32 on the CPU."""
    if u_mode not in U_MODES or kind not in PRECONDITIONINGS:
        raise ValueError(f"no such u_mode or precondition: {u_mode!r}, {kind!r}")
    S, B, A = a.shape
    count = int(num_nodes)
    if not 2 <= count <= nodes.shape[0]:
        raise ValueError(f"num_nodes must lie in 2..{nodes.shape[0]}, not {count}")
    if cdf is not None and (cdf.shape != nodes.shape or cdf.dtype != torch.int64):
        raise ValueError(
            f"cdf must be {list(nodes.shape)} int64, not {list(cdf.shape)} {cdf.dtype}"
        )
    module, a, nodes = native.module(), a.contiguous(), nodes.contiguous()
    cdf = None if cdf is None else cdf.contiguous()
    z, rows, actions = torch.empty(S, B, A), torch.empty(11, S, B), torch.empty(2, S, B, A)
    student_x, student_levels = torch.empty(S, 2 * B, A), torch.empty(S, 2 * B, 2)
    teacher_x, teacher_levels = torch.empty(S, B, A), torch.empty(S, B, 2)
    module.normals(keys.data_ptr(), S, int(step), int(Stream.NOISE), z.data_ptr(), B, A)
    outputs = (rows, *actions, student_x, student_levels, teacher_x, teacher_levels)
    module.perturb(
        (S, B, A),
        (u_mode == "uniform", PRECONDITIONINGS.index(kind)),
        (sigma_data, t_min),
        (count, int(step) & 0xFFFFFFFF, int(Stream.TIME)),
        [0 if x is None else x.data_ptr() for x in (a, nodes, cdf, keys, z)],
        [x.data_ptr() for x in outputs],
    )
    return Perturbation(
        **dict(zip(_ROW_FIELDS, rows.unbind(0), strict=True)),
        z=z,
        a_t=actions[0],
        a_u=actions[1],
        student_x=student_x,
        student_levels=student_levels,
        teacher_x=teacher_x,
        teacher_levels=teacher_levels,
    )


def triton_perturb(*arguments: Any, kind: str = "edm", **options: Any) -> Perturbation:
    """Do `reference.perturb` in one Triton launch; its arguments and options."""
    from gtp_fast.kernels import perturb

    return Perturbation(**perturb.perturb(*arguments, kind=kind, **options))


def loss_rows(p: Perturbation) -> tuple[Tensor, ...]:
    """Return what the losses read of a perturbation, in the kernels' order."""
    return p.a_t, p.a_u, p.q_t, p.q_u, p.skip_t, p.out_t, p.skip_u, p.out_u


def flow_map_gradient(
    student: Tensor, teacher: Tensor, a: Tensor, *rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return both losses [S], and the gradient [S, 2 B, A] of their sum by the student.

    rows: what of the perturbation `loss_rows` names, then w.
    """
    S, B, A = a.shape
    inputs = [x.contiguous() for x in (student, teacher, a, *rows)]
    losses, gradient = torch.empty(2, S), torch.empty(S, 2 * B, A)
    native.module().flow_map_loss(
        (S, B, A),
        [x.data_ptr() for x in inputs],
        losses.data_ptr(),
        gradient.data_ptr(),
    )
    return losses[0], losses[1], gradient


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        compute: Callable[..., tuple[Tensor, Tensor, Tensor]],
        student: Tensor,
        teacher: Tensor,
        a: Tensor,
        w: Tensor,
        *rows: Tensor,
    ) -> tuple[Tensor, Tensor]:
        consistency, flow, gradient = compute(student, teacher, a, *rows, w)
        ctx.save_for_backward(gradient)
        return consistency, flow

    @staticmethod
    def backward(ctx: Any, g_consistency: Tensor, g_flow: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        S, rows, A = gradient.shape
        # The upstream factors stay float32: rounded to bf16 they would cost the gradient a digit.
        scale = torch.stack((g_consistency, g_flow), 1)[..., None, None]
        scaled = (gradient.view(S, 2, rows // 2, A) * scale).to(gradient.dtype)
        return (None, scaled.view(S, rows, A), *(None,) * 11)


def _loss(
    compute: Callable[..., tuple[Tensor, Tensor, Tensor]],
    student: Tensor,
    teacher: Tensor,
    a: Tensor,
    p: Perturbation,
    w: Tensor,
) -> tuple[Tensor, Tensor]:
    inputs = (student, teacher.detach(), a, w.detach(), *loss_rows(p))
    result: tuple[Tensor, Tensor] = _Loss.apply(compute, *inputs)  # type: ignore[no-untyped-call]
    return result


def native_loss(
    student: Tensor, teacher: Tensor, a: Tensor, p: Perturbation, w: Tensor
) -> tuple[Tensor, Tensor]:
    """Do `reference.flow_map_loss` with its gradient in one native pass, float32 on the CPU."""
    return _loss(flow_map_gradient, student, teacher, a, p, w)


def triton_loss(
    student: Tensor, teacher: Tensor, a: Tensor, p: Perturbation, w: Tensor
) -> tuple[Tensor, Tensor]:
    """Do `reference.flow_map_loss` with its gradient in one Triton launch."""
    from gtp_fast.kernels import loss

    return _loss(loss.flow_map_loss, student, teacher, a, p, w)
