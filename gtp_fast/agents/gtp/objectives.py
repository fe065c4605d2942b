"""What GTP's actor minimises: the score approximation, or another choice of one flow map.

Every objective is a function (agent, batch, w, step) -> terms that knows the agent's networks and
nothing of its optimiser. The fused operations serve `gtp` as the paper has it; the rest is written
in the forms of `reference.objectives`, with displacements from the straight line a + r z.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.gtp.rows import Rows
from gtp_fast.errors import UserError
from gtp_fast.networks import FlowMapNetwork
from gtp_fast.reference import Plan
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.agents.gtp import GTP
    from gtp_fast.agents.gtp.config import GTPConfig
    from gtp_fast.data.table import Batch


Terms = dict[str, Tensor]
"""Terms of the actor's loss by name, each [S]; `flow_loss` counts lambda times, the others once."""
Objective = Callable[["GTP", "Batch", Tensor, "int | Tensor"], Terms]

_PRESETS: dict[str, dict[str, Any]] = {
    # CTM: the jump from u is the student's own, both meet at time 0, and EDM weighs the flow loss.
    "ctm": {"compare_at": "zero", "teacher": "online", "flow_weight": "edm"},
}
_PLAIN = {
    "compare_at": "tau",
    "teacher": "ema",
    "flow_weight": "none",
    "huber": False,
}
LARGEST = 1e4
"""A jump's loss beyond which its policy is lost: actions lie in [-1, 1], so whatever the weights,
errors are then of 10 or more."""
_JUMP, _FLOW, _GUIDANCE = "consistency_loss", "flow_loss", "guidance_loss"
_WITHOUT_TARGET = ("flow", "mean-flow")


def resolved(config: GTPConfig) -> GTPConfig:
    """Return the settings with those that their objective fixes.

    Raises UserError for a setting that has no meaning in the objective.
    """
    for name in ("compare_at", "teacher"):
        value = getattr(config, name)
        if config.objective in _WITHOUT_TARGET and value != _PLAIN[name]:
            raise UserError(
                f"--{name.replace('_', '-')} {value} has no meaning for --objective "
                f"{config.objective}, which has no target network: leave it out."
            )
    return replace(config, **_PRESETS.get(config.objective, {}))


def term_names(config: GTPConfig) -> tuple[str, ...]:
    """Return the names of the terms that an objective minimises, in the order of its `Terms`."""
    if config.objective == "flow":
        return (_FLOW,)
    return (_JUMP, _FLOW, _GUIDANCE) if config.objective == "linear-q" else (_JUMP, _FLOW)


def limits(config: GTPConfig) -> dict[str, float]:
    """Return the largest value of each loss that can run away and stay finite, by its name."""
    return {_JUMP: LARGEST} if config.objective == "mean-flow" else {}


def unfused(config: GTPConfig) -> str:
    """Return why the fused losses cannot serve these settings, or an empty string."""
    if config.objective not in ("gtp", "linear-q"):
        return f"--objective {config.objective} has no fused form"
    for name, plain in _PLAIN.items():
        value = getattr(config, name)
        if value != plain:
            shown = "" if value is True else f" {value}"
            return f"--{name.replace('_', '-')}{shown} has no fused form"
    return ""


def find(config: GTPConfig) -> Objective:
    """Return the objective of resolved settings."""
    anchored = jumps(data_anchored) if unfused(config) else score_approximation
    return {
        "gtp": anchored,
        "linear-q": guided(anchored),
        "flow": flow_only,
        "consistency": jumps(data_anchored),
        "ctm": jumps(data_anchored),
        "solver": jumps(solved),
        "shortcut": jumps(halved),
        "mean-flow": mean_flow,
    }[config.objective]


def sampler_plan(config: GTPConfig) -> Callable[[Tensor], Plan]:
    """Return how the policy of an objective is sampled over a time grid."""
    if config.objective == "flow":
        return reference.heun_plan if config.solver == "heun" else reference.euler_plan
    if config.objective == "consistency":
        return reference.consistency_plan
    return reference.map_plan


def score_approximation(agent: GTP, batch: Batch, w: Tensor, step: int | Tensor) -> Terms:
    """GTP as the paper has it (eq. 17-19), by the operations that were chosen for this machine."""
    c, network = agent.config, agent.network
    p = agent.ops.perturb(
        batch.action,
        agent.nodes,
        agent.node_count,
        agent.keys,
        step,
        u_mode=c.u_mode,
        cdf=agent.cdf,
        kind=c.precondition,
        sigma_data=c.sigma_data,
        t_min=c.t_min,
    )
    with torch.no_grad():
        teacher = network(
            agent.actor.average_views, p.teacher_x, p.teacher_levels, batch.observation
        )
    student = network(agent.actor.views, p.student_x, p.student_levels, batch.observation)
    consistency, flow = agent.ops.loss(student, teacher, batch.action, p, w)
    return {_JUMP: consistency, _FLOW: flow}


def jumps(target: Callable[[Rows], Tensor]) -> Objective:
    """Return the objective that holds the student's jump to tau against a target's displacement."""

    def objective(agent: GTP, batch: Batch, w: Tensor, step: int | Tensor) -> Terms:
        rows = Rows(agent, batch, w, step)
        p = rows.p
        d_t, d_flow = rows.student()
        reached = p.q_t[..., None] * d_t
        with torch.no_grad():
            aim = target(rows)
        if agent.config.compare_at == "zero":
            # Gradients pass through the frozen network to the student, never into it.
            frozen, zero = rows.offset(agent.actor.average_views), torch.zeros_like(p.tau)
            reached, aim = (
                reference.flow_map(delta, frozen(delta, p.tau, zero), p.tau, zero)
                for delta in (reached, aim)
            )
        return {_JUMP: rows.mean(reached - aim), _FLOW: rows.flow(d_flow)}

    return objective


def data_anchored(rows: Rows) -> Tensor:
    """The score approximation: the target jumps from a + u z itself (eq. 17)."""
    p = rows.p
    d_u = rows.offset(rows.target_views)(rows.start, p.u, p.tau)
    return reference.flow_map(rows.start, d_u, p.u, p.tau)


def solved(rows: Rows) -> Tensor:
    """No score approximation: a solver of the learned field goes from a_t to u, the target on."""
    p, c = rows.p, rows.config
    offset = rows.offset(rows.target_views)
    delta = reference.solve(
        offset,
        rows.start,
        p.t,
        p.u,
        c.solver_steps,
        reference.ORDERS[c.solver],
        floor=rows.agent.nodes[1],
    )
    return reference.flow_map(delta, offset(delta, p.u, p.tau), p.u, p.tau)


def halved(rows: Rows) -> Tensor:
    """Shortcut: two jumps of the target over the halves of [tau, t]; no data behind them."""
    p = rows.p
    return reference.half_jumps(rows.offset(rows.target_views), rows.start, p.t, rows.middle, p.tau)


def mean_flow(agent: GTP, batch: Batch, w: Tensor, step: int | Tensor) -> Terms:
    """Mean Flows: the identity of the average velocity, its derivative by forward mode."""
    rows = Rows(agent, batch, w, step)
    p = rows.p
    # Custom functions have no forward mode: the derivative runs through the plain network.
    plain = FlowMapNetwork(
        agent.observation_dim, agent.action_dim, agent.config.width, agent.config.depth,
        reference.mlp,
    )  # fmt: skip
    target = reference.mean_flow_target(
        lambda x, t: agent.clean(agent.actor.views, x, t, p.tau, batch, plain),
        batch.action, p.z, p.t, p.tau,
    )  # fmt: skip
    d_t, d_flow = rows.student()
    return {_JUMP: rows.mean(d_t - target), _FLOW: rows.flow(d_flow)}


def flow_only(agent: GTP, batch: Batch, w: Tensor, step: int | Tensor) -> Terms:
    """A diffusion or flow-matching policy: the flow loss alone."""
    rows = Rows(agent, batch, w, step)
    p = rows.p
    return {_FLOW: rows.flow(rows.offset(agent.actor.views)(rows.start, p.t, p.t))}


def guided(base: Objective) -> Objective:
    """Return an objective with linear value guidance: minus lambda_q times the mean min-Q of own
    actions, with the gradient through all K steps (w is 1, since eta counts as 0).
    """

    def objective(agent: GTP, batch: Batch, w: Tensor, step: int | Tensor) -> Terms:
        c = agent.config
        terms = base(agent, batch, w, step)
        noise = agent.ops.normals(
            agent.keys, step, Stream.GUIDANCE, c.batch_size, agent.action_dim, agent.dtype
        )
        full = torch.ones_like(batch.reward)
        action = reference.sample(
            lambda x, t, tau: agent.clean(agent.actor.views, x, t * full, tau * full, batch),
            noise,
            agent.times,
        )
        q = agent.critic.values(batch.observation, action).amin(0).mean(1)
        return terms | {_GUIDANCE: -agent.lambda_q * q}

    return objective
