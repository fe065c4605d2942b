"""The score-approximation perturbation (eq. 11, 17) and its forms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.ops.compiled import compiled
from gtp_fast.ops.context import Context
from gtp_fast.ops.limits import beyond, of_actions
from gtp_fast.ops.operands import operand, output
from gtp_fast.reference import (
    CONSISTENCY_WEIGHTS,
    PRECONDITIONINGS,
    U_MODES,
    Perturbation,
    philox,
)
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
    consistency_weight: str = "none",
) -> Perturbation:
    """Do `reference.perturb` in native code, float32 on the CPU; UserError for another dtype."""
    choices = (u_mode, U_MODES), (kind, PRECONDITIONINGS), (consistency_weight, CONSISTENCY_WEIGHTS)
    if any(given not in known for given, known in choices):
        raise ValueError(f"no such option: {', '.join(repr(given) for given, _ in choices)}")
    S, B, A = a.shape
    count = int(num_nodes)
    if not 2 <= count <= nodes.shape[0]:
        raise ValueError(f"num_nodes must lie in 2..{nodes.shape[0]}, not {count}")
    module, row = native.module(), nodes.shape[:1]
    a, nodes = operand(a, (S, B, A), "a"), operand(nodes, row, "nodes")
    cdf = None if cdf is None else operand(cdf, row, "cdf", torch.int64)
    keys = operand(keys, (S,), "keys", torch.int64)
    z, rows, actions = output(S, B, A), output(11, S, B), output(2, S, B, A)
    student_x, student_levels = output(S, 2 * B, A), output(S, 2 * B, 2)
    teacher_x, teacher_levels = output(S, B, A), output(S, B, 2)
    module.normals(keys.data_ptr(), S, int(step), int(Stream.NOISE), z.data_ptr(), B, A)
    outputs = (rows, *actions, student_x, student_levels, teacher_x, teacher_levels)
    module.perturb(
        (S, B, A),
        [known.index(given) for given, known in choices],
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


def triton_perturb(
    a: Tensor, *arguments: Any, strict: bool = False, kind: str = "edm", **options: Any
) -> Perturbation:
    """Do `reference.perturb` in one Triton launch; its arguments and options.

    More actions than the kernel holds go through the reference, which is reported once; strict:
    they raise UserError.
    """
    from gtp_fast.kernels import perturb

    if reason := of_actions("triton", a.shape[2]):
        beyond(f"the perturbation of {a.shape[2]} action dimensions", reason, strict)
        return reference_perturb(a, *arguments, kind=kind, **options)
    return Perturbation(**perturb.perturb(a, *arguments, kind=kind, **options))


def compiled_perturb(normals: Callable[..., Tensor]) -> Callable[..., Perturbation]:
    """Return `reference.perturb` with its arithmetic compiled; the draws stay as they are."""
    inner = compiled(reference.perturb_at)

    def draw(
        a: Tensor,
        nodes: Tensor,
        num_nodes: int | Tensor,
        keys: Tensor,
        step: int | Tensor,
        *,
        u_mode: str = "adjacent",
        cdf: Tensor | None = None,
        consistency_weight: str = "none",
        **options: Any,
    ) -> Perturbation:
        indices = reference.draw_times(keys, step, a.shape[1], num_nodes, u_mode, cdf)
        z = normals(keys, step, Stream.NOISE, a.shape[1], a.shape[2], nodes.dtype)
        result: Perturbation = inner(a, z, nodes, *indices, **options)
        return reference.scaled_jumps(result, num_nodes, consistency_weight)

    return draw


def reference_perturb(*arguments: Any, **options: Any) -> Perturbation:
    """Compute `reference.perturb` with the reference's own draws."""
    return reference.perturb(*arguments, normals=philox.normals, **options)


FORMS: dict[str, Callable[[Context], Callable[..., Perturbation]]] = {
    "reference": lambda _: reference_perturb,
    "compiled": lambda context: compiled_perturb(context.normals),
    "native": lambda _: native_perturb,
    "triton": lambda context: functools.partial(triton_perturb, strict=context.strict),
}
