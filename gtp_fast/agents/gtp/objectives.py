"""Other losses of GTP's actor, and linear guidance by Q.

An objective is a function (state, batch, w, step) -> terms that reads networks and draws times and
noise. It is written in the forms of `reference.objectives`, with displacements from the straight
line a + r z.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.gtp.config import FLOW, GUIDANCE, JUMP, unfused
from gtp_fast.agents.gtp.rows import Rows
from gtp_fast.networks import FlowMapNetwork
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.agents.gtp.config import GTPConfig
    from gtp_fast.agents.gtp.state import GTPState
    from gtp_fast.data.table import Batch


Terms = dict[str, Tensor]
"""Terms of the actor's loss by name, each [S]; `flow_loss` counts lambda times, the others once."""
Objective = Callable[["GTPState", "Batch", Tensor, "int | Tensor"], Terms]


def find(config: GTPConfig) -> Objective | None:
    """Return the objective of resolved settings; None for the losses of the paper (eq. 17, 18)."""
    if config.objective in ("gtp", "linear-q"):
        return jumps_to(anchored_target) if unfused(config) else None
    objectives: dict[str, Objective] = {
        "flow": flow_only,
        "consistency": jumps_to(anchored_target),
        "ctm": jumps_to(anchored_target),
        "solver": jumps_to(solver_target),
        "shortcut": jumps_to(shortcut_target),
        "mean-flow": mean_flow,
    }
    return objectives[config.objective]


def jumps_to(target: Callable[[Rows], Tensor]) -> Objective:
    """Return the objective that holds the student's jump to tau against a target's displacement."""

    def objective(state: GTPState, batch: Batch, w: Tensor, step: int | Tensor) -> Terms:
        rows = Rows(state, batch, w, step)
        p = rows.p
        d_t, d_flow = rows.student()
        reached = p.q_t[..., None] * d_t
        with torch.no_grad():
            aim = target(rows)
        if state.config.compare_at == "zero":
            # Gradients pass through the frozen network to the student, never into it.
            frozen, zero = rows.offset(state.actor.average_views), torch.zeros_like(p.tau)
            reached, aim = (
                reference.flow_map(delta, frozen(delta, p.tau, zero), p.tau, zero)
                for delta in (reached, aim)
            )
        return {JUMP: rows.mean(reached - aim), FLOW: rows.flow(d_flow)}

    return objective


def anchored_target(rows: Rows) -> Tensor:
    """The score approximation: the target jumps from a + u z itself (eq. 17)."""
    p = rows.p
    d_u = rows.offset(rows.target_views)(rows.start, p.u, p.tau)
    return reference.flow_map(rows.start, d_u, p.u, p.tau)


def solver_target(rows: Rows) -> Tensor:
    """No score approximation: a solver of the learned field reaches u, the target jumps on."""
    p, c = rows.p, rows.config
    offset = rows.offset(rows.target_views)
    delta = reference.solve(
        offset,
        rows.start,
        p.t,
        p.u,
        c.solver_steps,
        reference.ORDERS[c.solver],
        floor=rows.state.nodes[1],
    )
    return reference.flow_map(delta, offset(delta, p.u, p.tau), p.u, p.tau)


def shortcut_target(rows: Rows) -> Tensor:
    """Shortcut: the target jumps twice, over the halves of [tau, t]; no data enter."""
    p = rows.p
    return reference.half_jumps(rows.offset(rows.target_views), rows.start, p.t, rows.middle, p.tau)


def mean_flow(state: GTPState, batch: Batch, w: Tensor, step: int | Tensor) -> Terms:
    """Mean Flows: the identity of the average velocity, its derivative by forward mode."""
    rows = Rows(state, batch, w, step)
    p = rows.p
    # Custom functions have no forward mode: the derivative runs through the plain network.
    plain = FlowMapNetwork(
        state.observation_dim, state.action_dim, state.config.width, state.config.depth,
        reference.mlp,
    )  # fmt: skip
    target = reference.mean_flow_target(
        lambda x, t: state.clean(state.actor.views, x, t, p.tau, batch, plain),
        batch.action, p.z, p.t, p.tau,
    )  # fmt: skip
    d_t, d_flow = rows.student()
    return {JUMP: rows.mean(d_t - target), FLOW: rows.flow(d_flow)}


def flow_only(state: GTPState, batch: Batch, w: Tensor, step: int | Tensor) -> Terms:
    """A diffusion or flow-matching policy: the flow loss alone."""
    rows = Rows(state, batch, w, step)
    p = rows.p
    return {FLOW: rows.flow(rows.offset(state.actor.views)(rows.start, p.t, p.t))}


def linear_guidance(state: GTPState, batch: Batch, step: int | Tensor) -> Terms:
    """Return minus lambda_q times the mean min-Q of the actor's own actions.

    Its gradient passes through all K steps of the sampler.
    """
    c = state.config
    noise = state.ops.normals(
        state.keys, step, Stream.GUIDANCE, c.batch_size, state.action_dim, state.dtype
    )
    full = torch.ones_like(batch.reward)
    action = reference.sample(
        lambda x, t, tau: state.clean(state.actor.views, x, t * full, tau * full, batch),
        noise,
        state.times,
    )
    q = state.critic.values(batch.observation, action).amin(0).mean(1)
    return {GUIDANCE: -state.lambda_q * q}
