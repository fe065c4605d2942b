"""Algorithm 1 by single operations: the text to read next to the paper.

`update_native.py` and `update_triton.py` do the same passes with the same random numbers, fused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast.agents.gtp import objectives
from gtp_fast.agents.gtp.config import FLOW, JUMP
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.agents.gtp.objectives import Objective
    from gtp_fast.agents.gtp.state import GTPState
    from gtp_fast.data.table import TransitionTable


def build(state: GTPState) -> Callable[[TransitionTable, int | Tensor], Tensor]:
    """Return the update of a state."""
    if not state.clones:
        # Neither torch.compile nor a CUDA graph can record that a sampler is made.
        _ = state.chain
    return functools.partial(update, state, objective=objectives.find(state.config))


def update(
    state: GTPState, table: TransitionTable, step: int | Tensor, objective: Objective | None = None
) -> Tensor:
    """Do update number `step` in place; return the metrics [len(metric_names), S].

    objective: what the actor minimises, by default the losses of the paper (eq. 17, 18).
    """
    c, ops, actor, critic = state.config, state.ops, state.actor, state.critic
    batch = state.batch(table, step)
    s, a = batch.observation, batch.action

    if state.clones:
        # Every weight is 1 whatever the critic says, so it is not trained.
        w = torch.ones_like(batch.reward)
        of_value: dict[str, Tensor] = {}
        critic_loss = q = spread = critic_gradient = torch.zeros_like(state.rate)
        mean = largest = torch.ones_like(state.rate)
    else:
        # The average actor acts (eq. 15): m times at s' for the TD target, n times at s for V(s).
        m, n, chain = max(1, c.max_q_backup), c.value_samples, state.chain
        states = torch.cat([batch.next_observation] * m + [s] * n, 1)
        counts = ((Stream.TARGET, m * c.batch_size), (Stream.VALUE, n * c.batch_size))
        noise = [state.chain_noise(step, stream, rows, chain.draws) for stream, rows in counts]
        chain.load(state.folded("ema"))
        actions = chain.sample(states, torch.cat(noise, -2))
        next_action, value_action = actions[:, : m * c.batch_size], actions[:, m * c.batch_size :]

        # The twin critics step towards r + gamma min Q'(s', a') (eq. 16); their averages follow.
        with torch.no_grad():
            next_value = critic.values(batch.next_observation, next_action, target=True)
        value = critic.values(s, a)
        critic_loss = ops.td_loss(value, next_value, batch.reward, batch.mask, c.discount)
        critic_gradient = critic.learner.update(
            critic_loss, step + 1, state.decayed(critic.rate, step),
            c.critic_ema_rate, c.max_gradient_norm,
        )  # fmt: skip

        # w = exp(eta max(0, A) / std A) with A = Q(s, a) - V(s) (eq. 14).
        of_value = state.fit_value(batch, value_action, step)
        w, q, spread, mean, largest = state.weigh(batch, None if of_value else value_action)

    if objective is not None:
        terms = objective(state, batch, w, step)
    else:
        # Times t > u >= tau; the student sees a + t z (eq. 11), the average actor a + u z (eq. 17).
        p = ops.perturb(
            a, state.nodes, state.node_count, state.keys, step, u_mode=c.u_mode, cdf=state.cdf,
            kind=c.precondition, sigma_data=c.sigma_data, t_min=c.t_min,
            consistency_weight=c.consistency_weight,
        )  # fmt: skip
        with torch.no_grad():
            teacher = state.network(actor.average_views, p.teacher_x, p.teacher_levels, s)
        student = state.network(actor.views, p.student_x, p.student_levels, s)
        # Both jump to tau (eq. 17); at (t, t) the student returns the clean action (eq. 18).
        consistency, flow = ops.loss(student, teacher, a, p, w)
        terms = {JUMP: consistency, FLOW: flow}
    if c.objective == "linear-q":
        terms |= objectives.linear_guidance(state, batch, step)

    # The actor steps along consistency + lambda flow (eq. 19); its average follows.
    shares = [state.lambda_flow * x if name == FLOW else x for name, x in terms.items()]
    actor_gradient = actor.update(
        functools.reduce(torch.add, shares), step + 1, state.decayed(state.rate, step),
        c.ema_rate, c.max_gradient_norm,
    )  # fmt: skip

    metrics = terms | of_value | {
        "critic_loss": critic_loss, "q": q, "advantage_std": spread, "weight": mean,
        "weight_max": largest, "actor_gradient": actor_gradient, "critic_gradient": critic_gradient,
    }  # fmt: skip
    return torch.stack([metrics[name].detach() for name in state.metric_names])
