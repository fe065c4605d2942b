"""The equations of Generative Trajectory Policies in plain PyTorch: the definition of what is
computed.

Numbers of equations are those of the paper (arXiv 2510.11499). Every tensor carries a leading seed
axis S; no reduction crosses it. Everything runs in float32 or float64 on any device and knows no
kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtp_fast import random
from gtp_fast.random import Stream

RHO = 7.0
U_MODES = ("adjacent", "uniform")
PRECONDITIONINGS = ("edm", "cm", "none")


class Perturbation(NamedTuple):
    """Everything that the two losses need to know of the times and the noise; fields as in
    `perturb`.
    """

    t: Tensor
    u: Tensor
    tau: Tensor
    z: Tensor
    a_t: Tensor
    a_u: Tensor
    r_t: Tensor
    q_t: Tensor
    r_u: Tensor
    q_u: Tensor
    skip_t: Tensor
    out_t: Tensor
    skip_u: Tensor
    out_u: Tensor
    student_x: Tensor
    student_levels: Tensor
    teacher_x: Tensor
    teacher_levels: Tensor


# --- grid and schedule
# ---------------------------------------------------------------------------------------


def karras_nodes(
    count: int, t_min: float = 0.002, t_max: float = 80.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return `count` ascending times, evenly spaced in t^(1/7), from t_min to t_max: [count]."""
    i = torch.arange(count, dtype=torch.float64) / max(count - 1, 1)
    low, high = t_min ** (1 / RHO), t_max ** (1 / RHO)
    nodes: Tensor = (low + i * (high - low)) ** RHO
    nodes[0], nodes[-1] = t_min, t_max
    return nodes.to(dtype)


def schedule_ceiling(total_updates: int, ema_rate: float, low: int = 10, high: int = 1280) -> int:
    """Return the largest interval count that a budget of updates can carry, one hop per EMA lag."""
    return max(low, min(high, round(ema_rate * total_updates)))


def schedule(step: int, total_updates: int, first: int = 10, last: int = 1280) -> int:
    """Return the number of nodes N at a global step: min(first * 2^stage, last) + 1, in equal
    stages.
    """
    stages = (last // first).bit_length()
    # A ceiling that is no power of two times `first` needs one more stage to be reached.
    stages += (first << (stages - 1)) < last
    length = max(1, total_updates // stages)
    return min(first << min(step // length, stages), last) + 1


def sampling_times(
    steps: int, t_min: float = 0.002, t_max: float = 80.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the K + 1 descending times of the sampler, the last one exactly 0: [K + 1]."""
    times = karras_nodes(steps + 1, t_min, t_max, dtype).flip(0)
    times[-1] = 0.0
    return times


def noise_level(t: Tensor, t_min: float) -> Tensor:
    """Return what the time embedding sees, 0.25 ln t, with time 0 seen as t_min."""
    return 0.25 * torch.log(torch.clamp(t, min=t_min))


# --- flow map
# ------------------------------------------------------------------------------------------------


def precondition(
    t: Tensor, kind: str = "edm", sigma_data: float = 0.5, t_min: float = 0.002
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (c_skip, c_out, c_in), of t's shape: phi = c_skip a_t + c_out F(c_in a_t)."""
    variance = sigma_data * sigma_data
    scale = torch.rsqrt(t * t + variance)
    if kind == "edm":
        return variance * scale * scale, t * sigma_data * scale, scale
    if kind == "cm":
        shifted = torch.clamp(t, min=t_min) - t_min
        return (
            variance / (shifted * shifted + variance),
            sigma_data * shifted * scale,
            torch.ones_like(t),
        )
    if kind == "none":
        return torch.zeros_like(t), torch.ones_like(t), scale
    raise ValueError(f"precondition is one of {', '.join(PRECONDITIONINGS)}, not {kind!r}")


def jump(t: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """Return r = tau / t and q = (t - tau) / t, computed apart; (1, 0) where tau = t, also at 0
    (eq. 4).
    """
    safe = torch.where(t > 0, t, torch.ones_like(t))
    still = t == tau
    r = torch.where(still, torch.ones_like(t), tau / safe)
    q = torch.where(still, torch.zeros_like(t), (t - tau) / safe)
    return r, q


def clean_action(a_t: Tensor, output: Tensor, skip: Tensor, out: Tensor) -> Tensor:
    """Return phi = c_skip a_t + c_out F, the clean action [..., A]; skip, out: [...]."""
    return skip[..., None] * a_t + out[..., None] * output


def flow_map(a_t: Tensor, phi: Tensor, t: Tensor, tau: Tensor) -> Tensor:
    """Return Phi = (tau / t) a_t + (1 - tau / t) phi (eq. 4): [..., A]; bit-exactly a_t where tau =
    t.
    """
    r, q = jump(t, tau)
    return r[..., None] * a_t + q[..., None] * phi


# --- the law of (t, u, tau) and the score approximation
# --------------------------------------------------------


def draw_times(
    keys: Tensor, step: int | Tensor, rows: int, num_nodes: int | Tensor, u_mode: str = "adjacent"
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw node indices n_t > n_u >= n_tau, each [S, rows].

    n_t is uniform over 1..N-1 and n_tau over 0..n_t-1. `adjacent` puts n_u just below n_t;
    `uniform` draws it from n_tau..n_t-1. The base case u = tau is kept: without it the last hop is
    never trained.
    """
    w_t, w_tau, w_u, _ = (w[..., 0] for w in random.words(keys, step, Stream.TIME, rows, 1))
    n_t = 1 + random.multiply_high(w_t, num_nodes - 1)
    n_tau = random.multiply_high(w_tau, n_t)
    if u_mode == "adjacent":
        return n_t, n_t - 1, n_tau
    if u_mode == "uniform":
        return n_t, n_tau + random.multiply_high(w_u, n_t - n_tau), n_tau
    raise ValueError(f"u_mode is one of {', '.join(U_MODES)}, not {u_mode!r}")


def perturb_at(
    a: Tensor,
    z: Tensor,
    nodes: Tensor,
    n_t: Tensor,
    n_u: Tensor,
    n_tau: Tensor,
    *,
    kind: str = "edm",
    sigma_data: float = 0.5,
    t_min: float = 0.002,
    dtype: torch.dtype | None = None,
) -> Perturbation:
    """Noise actions in closed form, a_t = a + t z and a_u = a + u z (eq. 11, 17), at given node
    indices.

    a, z: [S, B, A]; nodes: [>= N] ascending; n_t, n_u, n_tau: [S, B]. Node 0 has algebraic time 0
    and the embedding of t_min. dtype: that of the network inputs `student_x` [S, 2B, A] (rows (t,
    tau),
    then (t, t)) and `teacher_x` [S, B, A]; their time levels are [S, 2B, 2] and [S, B, 2].
    """
    t, u, tau = (torch.where(n > 0, nodes[n], 0.0).to(nodes.dtype) for n in (n_t, n_u, n_tau))
    a = a.to(nodes.dtype)
    a_t, a_u = a + t[..., None] * z, a + u[..., None] * z
    (r_t, q_t), (r_u, q_u) = jump(t, tau), jump(u, tau)
    skip_t, out_t, in_t = precondition(t, kind, sigma_data, t_min)
    skip_u, out_u, in_u = precondition(u, kind, sigma_data, t_min)
    level_t, level_u, level_tau = (0.25 * torch.log(nodes[n]) for n in (n_t, n_u, n_tau))
    dtype = dtype or nodes.dtype
    student_x = (in_t[..., None] * a_t).to(dtype)
    rows_tau = torch.stack((level_t, level_tau), -1)
    rows_t = torch.stack((level_t, level_t), -1)
    return Perturbation(
        t=t, u=u, tau=tau, z=z, a_t=a_t, a_u=a_u, r_t=r_t, q_t=q_t, r_u=r_u, q_u=q_u,
        skip_t=skip_t, out_t=out_t, skip_u=skip_u, out_u=out_u,
        student_x=torch.cat((student_x, student_x), 1),
        student_levels=torch.cat((rows_tau, rows_t), 1),
        teacher_x=(in_u[..., None] * a_u).to(dtype),
        teacher_levels=torch.stack((level_u, level_tau), -1),
    )  # fmt: skip


def perturb(
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
    normals: Callable[..., Tensor] = random.normals,
) -> Perturbation:
    """Draw (t, u, tau) and z by counter and noise the actions a [S, B, A]; see `perturb_at`."""
    n_t, n_u, n_tau = draw_times(keys, step, a.shape[1], num_nodes, u_mode)
    z = normals(keys, step, Stream.NOISE, a.shape[1], a.shape[2], nodes.dtype)
    return perturb_at(
        a, z, nodes, n_t, n_u, n_tau, kind=kind, sigma_data=sigma_data, t_min=t_min, dtype=dtype
    )


# --- losses ---------------------------------------------------------------------------------------
# -------------


def consistency_residual(d_t: Tensor, d_u: Tensor, q_t: Tensor, q_u: Tensor) -> Tensor:
    """Return Phi_theta(a_t, t, tau) - Phi_minus(a_u, u, tau) with the noise cancelled: [..., A].

    d_t = phi_theta - a and d_u = phi_minus - a. The direct difference of two numbers as large as
    tau z loses every digit in float32; q_t d_t - q_u d_u is the same quantity, since tau (t - u) /
    (t u) = q_t
    - q_u.
    """
    return q_t[..., None] * d_t - q_u[..., None] * d_u


def flow_map_loss(
    student: Tensor, teacher: Tensor, a: Tensor, p: Perturbation, w: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the w-weighted consistency loss and flow loss (eq. 17, 18), each [S]: sum over A, mean
    over B.

    student: [S, 2B, A] raw network outputs for the rows (t, tau), then (t, t); teacher: [S, B, A];
    a: [S, B, A]; w: [S, B]. Gradients flow to `student` alone.
    """
    first, second = student.to(p.a_t.dtype).chunk(2, 1)
    a, w = a.to(p.a_t.dtype), w.detach()
    d_t = clean_action(p.a_t, first, p.skip_t, p.out_t) - a
    d_u = clean_action(p.a_u, teacher.detach().to(p.a_t.dtype), p.skip_u, p.out_u) - a
    residual = consistency_residual(d_t, d_u, p.q_t, p.q_u)
    flow_residual = clean_action(p.a_t, second, p.skip_t, p.out_t) - a
    return (
        (w * residual.square().sum(-1)).mean(-1),
        (w * flow_residual.square().sum(-1)).mean(-1),
    )


def advantage_weights(
    advantage: Tensor, eta: Tensor | float, eps: float = 1e-6, maximum: float | None = 100.0
) -> Tensor:
    """Return w = exp(eta max(0, A) / (std A + eps)) (eq. 14), [S, B]; std over the batch, raw A.

    eta: a number or [S]. maximum: clamp of w, applied to the exponent so that it cannot overflow;
    None for the paper's strict form, which may return infinity.
    """
    eta = torch.as_tensor(eta, dtype=advantage.dtype, device=advantage.device).reshape(-1, 1)
    spread = advantage.std(-1, correction=0, keepdim=True)
    exponent = eta * torch.clamp(advantage, min=0.0) / (spread + eps)
    if maximum is not None:
        ceiling = torch.log(torch.tensor(maximum, dtype=advantage.dtype, device=advantage.device))
        exponent = torch.minimum(exponent, ceiling)
    return torch.exp(exponent)


# --- sampler --------------------------------------------------------------------------------------
# ---------------


def sample(
    phi: Callable[[Tensor, Tensor, Tensor], Tensor],
    noise: Tensor,
    times: Tensor,
    clip: float | None = 1.0,
) -> Tensor:
    """Carry a_T = T noise to an action in K deterministic steps (eq. 15): [S, B, A].

    phi(a_t, t, tau) -> clean action [S, B, A], with t and tau of shape []; times: [K + 1]
    descending to 0.
    """
    a = times[0] * noise
    for t, tau in pairwise(times):
        a = flow_map(a, phi(a, t, tau), t, tau)
    return a if clip is None else a.clamp(-clip, clip)


# --- critic ---------------------------------------------------------------------------------------
# ---------------


def td_target(
    reward: Tensor, mask: Tensor, next_values: Tensor, discount: Tensor | float
) -> Tensor:
    """Return r + gamma (1 - done) min_i Q_i(s', a') (eq. 16): [S, B]; next_values: [twins, S, B].

    mask is 1 - done and stays 1 at a time-out, so that a truncated episode still bootstraps.
    """
    return reward + discount * mask * next_values.amin(0)


def double_q_loss(values: Tensor, target: Tensor) -> Tensor:
    """Return sum over twins of the batch mean of (target - Q_j)^2 (eq. 16): [S]; values: [twins, S,
    B].
    """
    return (values - target.detach()).square().mean(-1).sum(0)


# --- network parts and optimiser
# -----------------------------------------------------------------------------------


def mish(x: Tensor) -> Tensor:
    """Return x tanh(softplus(x)) in algebraic form: one exponential, one division, no overflow."""
    e = torch.exp(torch.clamp(x, max=20.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


def sinusoid(level: Tensor, features: int = 16, scale: float = 250.0) -> Tensor:
    """Return sines and cosines of `level` at geometric frequencies: [..., features]."""
    half = features // 2
    rate = torch.arange(half, dtype=level.dtype, device=level.device) / max(half - 1, 1)
    angle = scale * level[..., None] * torch.pow(10_000.0, -rate)
    return torch.cat((torch.sin(angle), torch.cos(angle)), -1)


def polyak(target: Tensor, online: Tensor, rate: float) -> Tensor:
    """Return target + rate (online - target), the exponential moving average of the parameters."""
    return target + rate * (online - target)


def adam(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    step: int | Tensor,
    rate: Tensor | float,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (parameter, first, second) after one Adam step; step counts from 1, rate broadcasts
    ([S, 1]).
    """
    first = betas[0] * first + (1 - betas[0]) * gradient
    second = betas[1] * second + (1 - betas[1]) * gradient * gradient
    power = torch.as_tensor(step, dtype=parameter.dtype, device=parameter.device)
    corrected = first / (1 - torch.pow(betas[0], power))
    scale = torch.sqrt(second / (1 - torch.pow(betas[1], power))) + eps
    return parameter - rate * corrected / scale, first, second


class FoldedPolicy(NamedTuple):
    """The K-step sampler with every constant taken out of its loop; weights are [in, out], S seeds
    first.
    """

    first_action: Tensor
    first_observation: Tensor
    step_bias: Tensor
    hidden_weights: tuple[Tensor, ...]
    hidden_biases: tuple[Tensor, ...]
    last_weight: Tensor
    last_bias: Tensor
    c_in: Tensor
    keep: Tensor
    gain: Tensor
    initial_scale: float

    def select(self, seed: int) -> FoldedPolicy:
        """Return the policy of one seed, the axis kept."""
        pick = slice(seed, seed + 1)
        return FoldedPolicy(
            self.first_action[pick], self.first_observation[pick], self.step_bias[pick],
            tuple(w[pick] for w in self.hidden_weights), tuple(b[pick] for b in self.hidden_biases),
            self.last_weight[pick], self.last_bias[pick],
            self.c_in, self.keep, self.gain, self.initial_scale,
        )  # fmt: skip

    def flatten(self) -> Tensor:
        """Return every number in one row: the fields in their order, each [S, ...] flattened."""
        parts = (*self[:3], *self.hidden_weights, *self.hidden_biases, *self[5:10])
        return torch.cat([part.flatten() for part in parts])

    def to(self, device: torch.device | str) -> FoldedPolicy:
        """Return the same policy on another device."""
        moved: dict[str, Any] = {
            name: tuple(x.to(device) for x in value)
            if isinstance(value, tuple)
            else value.to(device)
            for name, value in self._asdict().items()
            if name != "initial_scale"
        }
        return self._replace(**moved)


def folded_sample(policy: FoldedPolicy, observation: Tensor, noise: Tensor) -> Tensor:
    """Run `sample` in its folded form: observation [S, B, O], noise [S, B, A] -> clipped actions
    [S, B, A].
    """
    a = policy.initial_scale * noise
    state = observation @ policy.first_observation
    for k in range(policy.c_in.shape[0]):
        h = mish(policy.c_in[k] * (a @ policy.first_action) + state + policy.step_bias[:, k, None])
        for weight, bias in zip(policy.hidden_weights, policy.hidden_biases, strict=True):
            h = mish(h @ weight + bias[:, None])
        output = h @ policy.last_weight + policy.last_bias[:, None]
        a = policy.keep[k] * a + policy.gain[k] * output
    return a.clamp(-1.0, 1.0)
