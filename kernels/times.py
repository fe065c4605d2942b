"""The times of a row, drawn by counter, as numbers of nodes of a grid."""

from __future__ import annotations

import triton
import triton.language as tl

from .philox import multiply_high, words


@triton.jit
def _draw_node(word, num_nodes, cdf, STEPS: tl.constexpr):
    """Return a word's node, 1..N-1: the number of cdf entries up to it."""
    if cdf is None:
        return 1 + multiply_high(word, num_nodes - 1)
    else:
        goal, last = word.to(tl.int64), (word * 0).to(tl.int32)
        for i in tl.static_range(STEPS):
            ahead = last + (1 << (STEPS - 1 - i))
            bound = tl.load(cdf + ahead, mask=ahead < num_nodes, other=1 << 32)
            last = tl.where(bound <= goal, ahead, last)
        return last + 1


@triton.jit
def draw_nodes(
    seed, step, row, num_nodes, cdf, UNIFORM: tl.constexpr, STEPS: tl.constexpr,
    TIME: tl.constexpr,
):  # fmt: skip
    """Return the nodes of t, u and tau of rows: n_t > n_u >= n_tau."""
    w_t, w_tau, w_u, _ = words(seed, step, TIME, row, row * 0)
    n_t = _draw_node(w_t, num_nodes, cdf, STEPS)
    n_tau = multiply_high(w_tau, n_t)
    n_u = n_tau + multiply_high(w_u, n_t - n_tau) if UNIFORM else n_t - 1
    return n_t, n_u, n_tau


@triton.jit
def level_of(time):
    """Return the level at which a network embeds a time."""
    return 0.25 * tl.log(time)
