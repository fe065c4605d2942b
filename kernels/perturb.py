"""Draw times and noise of a batch, and write what the losses read."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .philox import normals_tile, value
from .times import draw_nodes, level_of

MAX_ACTIONS = 64
_TILE = 512  # elements of a tile: with four warps, one Philox call for every thread
TIME, NOISE = 1, 2  # streams of the random numbers
U_MODES, KINDS, WEIGHTS = ("adjacent", "uniform"), ("edm", "cm", "none"), ("none", "gap", "nodes")
ROW_FIELDS = ("t", "u", "tau", "r_t", "q_t", "r_u", "q_u", "skip_t", "out_t", "skip_u", "out_u")


@triton.jit
def _jump(t, tau):
    """Return r = tau / t and q = 1 - r; exactly (1, 0) at tau = t."""
    safe = tl.where(t > 0, t, 1.0)
    r = tl.where(t == tau, 1.0, tl.div_rn(tau, safe))
    q = tl.where(t == tau, 0.0, tl.div_rn(t - tau, safe))
    return r, q


@triton.jit
def _precondition(t, KIND: tl.constexpr, SIGMA: tl.constexpr, T_MIN: tl.constexpr):
    """Return (c_skip, c_out, c_in) at times t."""
    variance: tl.constexpr = SIGMA * SIGMA
    scale = tl.div_rn(1.0, tl.sqrt_rn(t * t + variance))
    if KIND == "edm":
        return variance * scale * scale, t * SIGMA * scale, scale
    elif KIND == "cm":
        shifted = tl.maximum(t, T_MIN) - T_MIN
        return tl.div_rn(variance, shifted * shifted + variance), SIGMA * shifted * scale, t * 0 + 1
    else:
        return t * 0, t * 0 + 1, scale


@triton.jit
def perturb_tile(
    s,
    row,  # [rows]
    live,  # [rows]
    clean,  # [rows, BLOCK_A]: actions
    nodes,  # [>= N]
    cdf,  # [>= N] int64, or None
    num_nodes,
    seed,
    step,
    row_fields,  # [11, S, B], in the order of ROW_FIELDS
    actions,  # [3, S, B, A]: z, a_t, a_u
    student_x,  # [S, 2B, A]
    student_levels,  # [S, 2B, 2]
    teacher_x,  # [S, B, A]
    teacher_levels,  # [S, B, 2]
    B,
    A,
    UNIFORM: tl.constexpr,
    KIND: tl.constexpr,
    SIGMA: tl.constexpr,
    T_MIN: tl.constexpr,
    STEPS: tl.constexpr,
    TIME: tl.constexpr,
    NOISE: tl.constexpr,
    BLOCK_A: tl.constexpr,
    WEIGHT: tl.constexpr,
):
    """Draw times and noise of a tile of rows; write what the losses read.

    s: the seed's number, program_id(1), int64.
    """
    n_t, n_u, n_tau = draw_nodes(seed, step, row, num_nodes, cdf, UNIFORM, STEPS, TIME)
    node_t, node_u, node_tau = tl.load(nodes + n_t), tl.load(nodes + n_u), tl.load(nodes + n_tau)
    # Node 0 is algebraic time 0, though the embedding sees t_min there.
    t, u, tau = node_t, tl.where(n_u > 0, node_u, 0.0), tl.where(n_tau > 0, node_tau, 0.0)
    r_t, q_t = _jump(t, tau)
    r_u, q_u = _jump(u, tau)
    if WEIGHT != "none":
        weight = tl.div_rn(1.0, t - u) if WEIGHT == "gap" else t * 0 + (num_nodes - 1)
        q_t, q_u = tl.sqrt_rn(weight) * q_t, tl.sqrt_rn(weight) * q_u
    skip_t, out_t, in_t = _precondition(t, KIND, SIGMA, T_MIN)
    skip_u, out_u, in_u = _precondition(u, KIND, SIGMA, T_MIN)

    fields = (t, u, tau, r_t, q_t, r_u, q_u, skip_t, out_t, skip_u, out_u)
    plane = tl.num_programs(1).to(tl.int64) * B
    for i in tl.static_range(len(fields)):
        tl.store(row_fields + i * plane + s * B + row, fields[i], mask=live)

    level_t, level_u, level_tau = level_of(node_t), level_of(node_u), level_of(node_tau)
    first = student_levels + (2 * s * B + row) * 2
    second = first + 2 * B
    tl.store(first, level_t, mask=live)
    tl.store(first + 1, level_tau, mask=live)
    tl.store(second, level_t, mask=live)
    tl.store(second + 1, level_t, mask=live)
    tl.store(teacher_levels + (s * B + row) * 2, level_u, mask=live)
    tl.store(teacher_levels + (s * B + row) * 2 + 1, level_tau, mask=live)

    column = tl.arange(0, BLOCK_A)
    inside = live[:, None] & (column < A)[None, :]
    offset = (s * B + row)[:, None] * A + column[None, :]  # [rows, BLOCK_A]
    z = normals_tile(seed, step, NOISE, row, BLOCK_A)
    a_t, a_u = clean + t[:, None] * z, clean + u[:, None] * z
    tl.store(actions + offset, z, mask=inside)
    tl.store(actions + plane * A + offset, a_t, mask=inside)
    tl.store(actions + 2 * plane * A + offset, a_u, mask=inside)
    x = (in_t[:, None] * a_t).to(student_x.dtype.element_ty)
    doubled = offset + s * B * A
    tl.store(student_x + doubled, x, mask=inside)
    tl.store(student_x + doubled + B * A, x, mask=inside)
    tl.store(teacher_x + offset, (in_u[:, None] * a_u).to(teacher_x.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["num_nodes", "step", "B"])
def _perturb_kernel(
    a,  # [S, B, A]
    nodes, cdf, num_nodes, seeds, step, row_fields, actions, student_x, student_levels, teacher_x,
    teacher_levels, B, A, UNIFORM: tl.constexpr, KIND: tl.constexpr, SIGMA: tl.constexpr,
    T_MIN: tl.constexpr, STEPS: tl.constexpr, TIME: tl.constexpr, NOISE: tl.constexpr,
    BLOCK_B: tl.constexpr, BLOCK_A: tl.constexpr, WEIGHT: tl.constexpr,
):  # fmt: skip
    s = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    live, column = row < B, tl.arange(0, BLOCK_A)
    inside = live[:, None] & (column < A)[None, :]
    offset = (s * B + row)[:, None] * A + column[None, :]
    clean = tl.load(a + offset, mask=inside, other=0.0).to(tl.float32)
    perturb_tile(
        s, row, live, clean, nodes, cdf, value(num_nodes), tl.load(seeds + s), value(step),
        row_fields, actions, student_x, student_levels, teacher_x, teacher_levels, B, A, UNIFORM,
        KIND, SIGMA, T_MIN, STEPS, TIME, NOISE, BLOCK_A, WEIGHT,
    )  # fmt: skip


class Perturbed(NamedTuple):
    """Outputs of the kernel; the last four are inputs of the networks."""

    row_fields: Tensor
    """[11, S, B], in the order of ROW_FIELDS."""
    actions: Tensor
    """[3, S, B, A]: z, a_t, a_u."""
    student_x: Tensor
    """[S, 2B, A]"""
    student_levels: Tensor
    """[S, 2B, 2]"""
    teacher_x: Tensor
    """[S, B, A]"""
    teacher_levels: Tensor
    """[S, B, 2]"""


def perturbed(
    S: int, B: int, A: int, device: torch.device, dtype: torch.dtype = torch.float32
) -> Perturbed:
    """Return empty outputs for S seeds of B actions; dtype: of the network inputs."""

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    return Perturbed(
        empty(len(ROW_FIELDS), S, B), empty(3, S, B, A), empty(S, 2 * B, A, dtype=dtype),
        empty(S, 2 * B, 2), empty(S, B, A, dtype=dtype), empty(S, B, 2),
    )  # fmt: skip


def searched(cdf: Tensor | None, nodes: Tensor) -> tuple[Tensor | None, int]:
    """Return the cdf of n_t for the kernels, and the steps of a search.

    Raises ValueError when it is not one over these nodes.
    """
    if cdf is None:
        return None, 0
    if cdf.shape != nodes.shape or cdf.dtype != torch.int64:
        raise ValueError(
            f"cdf must be {list(nodes.shape)} int64, not {list(cdf.shape)} {cdf.dtype}"
        )
    return cdf.contiguous(), (len(cdf) - 1).bit_length()


def perturb(
    a: Tensor,
    nodes: Tensor,
    num_nodes: int | Tensor,
    seeds: Tensor,
    step: int | Tensor,
    *,
    u_mode: str = "adjacent",
    cdf: Tensor | None = None,
    kind: str = "edm",
    sigma_data: float = 0.5,
    t_min: float = 0.002,
    dtype: torch.dtype = torch.float32,
    consistency_weight: str = "none",
) -> dict[str, Tensor]:
    """Noise actions at times drawn by counter (eq. 11, 17).

    a_t = a + t z, a_u = a + u z. a: [S, B, A]; nodes: [>= N] float32 ascending; num_nodes and step:
    integers, or integer scalars on the device; seeds: [S] int64; cdf: of n_t, shaped as nodes,
    int64, in units of 2^-32 from 0 to 2^32, repeated past N - 1 (None: uniform); kind: of
    preconditioning; dtype: of the network inputs; consistency_weight: none, gap (1 / (t - u)) or
    nodes (N - 1), whose root scales q_t and q_u. Returns t, u, tau, r_t, q_t, r_u, q_u, skip_t,
    out_t, skip_u, out_u [S, B]; z, a_t, a_u, teacher_x [S, B, A]; student_x [S, 2B, A];
    student_levels [S, 2B, 2]; teacher_levels [S, B, 2]. Raises ValueError for another shape or
    option.
    """
    S, B, A = a.shape
    if not 1 <= A <= MAX_ACTIONS:
        raise ValueError(f"perturb takes 1 to {MAX_ACTIONS} action dimensions, not {A}")
    if seeds.shape != (S,) or seeds.dtype != torch.int64:
        raise ValueError(f"seeds must be [{S}] int64, not {list(seeds.shape)} {seeds.dtype}")
    if nodes.ndim != 1 or nodes.dtype != torch.float32:
        raise ValueError(f"nodes must be one row of float32, not {list(nodes.shape)} {nodes.dtype}")
    if isinstance(num_nodes, int) and not 2 <= num_nodes <= nodes.shape[0]:
        raise ValueError(f"num_nodes must lie in 2..{nodes.shape[0]}, not {num_nodes}")
    if u_mode not in U_MODES or kind not in KINDS or consistency_weight not in WEIGHTS:
        raise ValueError(f"no such option: {u_mode!r}, {kind!r}, {consistency_weight!r}")

    law, steps = searched(cdf, nodes)
    outputs = perturbed(S, B, A, a.device, dtype)
    block_a = max(4, triton.next_power_of_2(A))
    block_b = _TILE // block_a
    with torch.cuda.device(a.get_device()):
        _perturb_kernel[(triton.cdiv(B, block_b), S)](
            a.contiguous(), nodes.contiguous(), law, num_nodes, seeds.contiguous(), step,
            *outputs, B, A, UNIFORM=u_mode == "uniform", KIND=kind, SIGMA=sigma_data,
            T_MIN=t_min, STEPS=steps, TIME=TIME, NOISE=NOISE, BLOCK_B=block_b, BLOCK_A=block_a,
            WEIGHT=consistency_weight, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    fields = zip(ROW_FIELDS, outputs.row_fields.unbind(0), strict=True)
    actions = zip(("z", "a_t", "a_u"), outputs.actions.unbind(0), strict=True)
    inputs = {name: getattr(outputs, name) for name in Perturbed._fields[2:]}
    return dict(fields) | dict(actions) | inputs
