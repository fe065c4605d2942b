"""Consistency and flow losses of every seed, and their gradient, in one launch."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .perturb import MAX_ACTIONS

# With eight warps eight elements and at most two rows for every thread; more rows spill on sm_80.
_TILE, _TILE_ROWS = 2048, 512


@triton.jit
def loss_tile(
    row,  # [rows] of 2 B: (t, tau), then (t, t)
    live,  # [rows]
    weight,  # [rows]: w of each row's action
    share,  # of the flow loss in the gradient
    student,  # [2B, A], of a seed, as are all
    teacher,  # [B, A]
    a,  # [B, A]
    a_t,  # [B, A]
    a_u,  # [B, A]
    q_t,  # [B]
    q_u,  # [B]
    skip_t,  # [B]
    out_t,  # [B]
    skip_u,  # [B]
    out_u,  # [B]
    gradient,  # [2B, A]
    B,
    A,
    BLOCK_A: tl.constexpr,
):
    """Write the gradient at a tile of rows; return weighted consistency and flow losses [rows].

    One of the two is 0 in every row.
    """
    column = tl.arange(0, BLOCK_A)[None, :]
    inside = live[:, None] & (column < A)
    jumps = live & (row < B)
    jumping = jumps[:, None] & (column < A)
    action = row % B
    at = action[:, None] * A + column
    keep_t = tl.load(skip_t + action, mask=live, other=0.0)[:, None]
    gain_t = tl.load(out_t + action, mask=live, other=0.0)[:, None]
    keep_u = tl.load(skip_u + action, mask=jumps, other=0.0)[:, None]
    gain_u = tl.load(out_u + action, mask=jumps, other=0.0)[:, None]
    # A row (t, t) is a jump of full length, without a teacher to compare with.
    jump_t = tl.load(q_t + action, mask=jumps, other=1.0)[:, None]
    jump_u = tl.load(q_u + action, mask=jumps, other=0.0)[:, None]

    clean = tl.load(a + at, mask=inside, other=0.0).to(tl.float32)
    output = tl.load(student + row[:, None] * A + column, mask=inside, other=0.0).to(tl.float32)
    output_u = tl.load(teacher + at, mask=jumping, other=0.0).to(tl.float32)
    d_t = keep_t * tl.load(a_t + at, mask=inside, other=0.0) + gain_t * output - clean
    d_u = keep_u * tl.load(a_u + at, mask=jumping, other=0.0) + gain_u * output_u - clean
    # tau z, as large as 300, has cancelled; a difference of the jumps would lose every digit.
    residual = tl.where(jumping, jump_t * d_t - jump_u * d_u, d_t)
    loss_rows = weight * tl.sum(residual * residual, 1)

    slope = 2.0 * tl.div_rn(weight, B.to(tl.float32)) * tl.where(jumps, 1.0, share)
    found = (slope[:, None] * gain_t * jump_t * residual).to(gradient.dtype.element_ty)
    tl.store(gradient + row[:, None] * A + column, found, mask=inside)
    zero = tl.zeros_like(loss_rows)
    return tl.where(jumps, loss_rows, zero), tl.where(live & (row >= B), loss_rows, zero)


@triton.jit(do_not_specialize=["B"])
def _loss_kernel(
    student,  # [S, 2B, A]
    teacher,  # [S, B, A]
    a,  # [S, B, A]
    a_t,  # [S, B, A]
    a_u,  # [S, B, A]
    q_t,  # [S, B]
    q_u,  # [S, B]
    skip_t,  # [S, B]
    out_t,  # [S, B]
    skip_u,  # [S, B]
    out_u,  # [S, B]
    w,  # [S, B]
    consistency,  # [S]
    flow,  # [S]
    gradient,  # [S, 2B, A]
    B,
    A,
    BLOCK_B: tl.constexpr,
    BLOCK_A: tl.constexpr,
):
    s = tl.program_id(0).to(tl.int64)
    at, rows = s * B * A, s * B
    consistency_rows = tl.zeros((BLOCK_B,), tl.float32)
    flow_rows = tl.zeros((BLOCK_B,), tl.float32)
    # One program reads all rows of a seed, so the order of every sum is fixed. No `range` here:
    # Triton 3.6's interpreter fails on a bound known at run time, and the compiler unrolls a
    # constant one until registers spill.
    start = 0
    while start < 2 * B:
        row = start + tl.arange(0, BLOCK_B)
        live = row < 2 * B
        weight = tl.load(w + rows + row % B, mask=live, other=0.0).to(tl.float32)
        first, second = loss_tile(
            row, live, weight, 1.0, student + 2 * at, teacher + at, a + at, a_t + at, a_u + at,
            q_t + rows, q_u + rows, skip_t + rows, out_t + rows, skip_u + rows, out_u + rows,
            gradient + 2 * at, B, A, BLOCK_A,
        )  # fmt: skip
        consistency_rows += first
        flow_rows += second
        start += BLOCK_B
    tl.store(consistency + s, tl.sum(consistency_rows, 0) / B)
    tl.store(flow + s, tl.sum(flow_rows, 0) / B)


def flow_map_loss(
    student: Tensor,
    teacher: Tensor,
    a: Tensor,
    a_t: Tensor,
    a_u: Tensor,
    q_t: Tensor,
    q_u: Tensor,
    skip_t: Tensor,
    out_t: Tensor,
    skip_u: Tensor,
    out_u: Tensor,
    w: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (consistency [S], flow [S], d (consistency + flow) / d student) (eq. 17, 18).

    student: [S, 2B, A] raw network outputs for the rows (t, tau), then (t, t); teacher, a, a_t and
    a_u: [S, B, A]; the rest: [S, B], of `perturb`. Losses are float32, the gradient [S, 2B, A] has
    student's dtype. Its first half belongs to the consistency loss alone, its second to the flow
    loss alone. Raises ValueError for another shape.
    """
    S, B, A = a.shape
    if not 1 <= A <= MAX_ACTIONS:
        raise ValueError(f"flow_map_loss takes 1 to {MAX_ACTIONS} action dimensions, not {A}")
    rows = (q_t, q_u, skip_t, out_t, skip_u, out_u, w)
    for name, tensors, shape in (
        ("student", (student,), (S, 2 * B, A)),
        ("teacher, a_t and a_u", (teacher, a_t, a_u), (S, B, A)),
        ("q, skip, out and w", rows, (S, B)),
    ):
        if any(x.shape != shape for x in tensors):
            raise ValueError(
                f"{name} must be {list(shape)}, not {[list(x.shape) for x in tensors]}"
            )
    losses = torch.empty((2, S), dtype=torch.float32, device=a.device)
    gradient = torch.empty(student.shape, dtype=student.dtype, device=a.device)
    block_a = triton.next_power_of_2(A)
    block_b = min(_TILE // block_a, _TILE_ROWS)
    inputs = (student, teacher, a, a_t, a_u, *rows)
    with torch.cuda.device(a.get_device()):
        _loss_kernel[(S,)](
            *(x.contiguous() for x in inputs), losses[0], losses[1], gradient, B, A,
            BLOCK_B=block_b, BLOCK_A=block_a, num_warps=8, enable_fp_fusion=True,
        )  # fmt: skip
    return losses[0], losses[1], gradient
