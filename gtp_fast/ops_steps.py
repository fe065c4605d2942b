"""Losses whose gradient native code writes into the flat buffer itself, pass after pass on the CPU.

Both do what autograd does with the same operations, to the bit: a graph of a few large nodes costs
more to keep than its small operations take.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gtp_fast import ops_critic, ops_embed, ops_losses, ops_mlp
from gtp_fast.networks import FlowMapNetwork, Parameters, TwinCritic, layers
from gtp_fast.ops_mlp import Buffer
from gtp_fast.reference import Perturbation


def td_step(
    network: TwinCritic, parameters: Parameters, batch: Any, following: Tensor, discount: float
) -> Tensor:
    """Return the TD loss [S] of a critic without norms, its gradient in `parameters.gradient`.

    batch: s, a, r, s', mask as `gather` draws them; following: [2, S, m B], target values of the
    next actions.
    """
    pieces = (batch.observation, batch.action)
    weights, biases = layers(parameters.views, network.depth)
    values, shape, saved = ops_mlp.forward(network.activation, pieces, weights, biases, Buffer)
    loss, gradient = ops_critic.td_gradient(
        values.view(-1, 2, values.shape[1]),
        following.transpose(0, 1),
        batch.reward,
        batch.mask,
        discount,
    )
    homes = layers(parameters.gradient_views, network.depth)
    ops_mlp.backward(
        shape, saved, gradient.view(values.shape), 1, pieces, weights + biases, (False, False),
        homes[0] + homes[1],
    )  # fmt: skip
    return loss


def flow_map_step(
    network: FlowMapNetwork,
    parameters: Parameters,
    observation: Tensor,
    teacher: Tensor,
    a: Tensor,
    p: Perturbation,
    w: Tensor,
    share: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return consistency and flow loss, [S] each, of the student with these parameters; the
    gradient of consistency + share flow is in `parameters.gradient`. share: [S].
    """
    clocks, (weights, biases) = (
        network.clocks(parameters.views),
        layers(parameters.views, network.depth),
    )
    told, sines, kept = ops_embed.forward(p.student_levels, clocks, Buffer)
    pieces = (p.student_x, told, observation)
    student, shape, saved = ops_mlp.forward("mish", pieces, weights, biases, Buffer)
    consistency, flow, gradient = ops_losses.flow_map_gradient(
        student, teacher, a, *ops_losses.loss_rows(p), w, share=share
    )
    homes = layers(parameters.gradient_views, network.depth)
    _, of_told, _ = ops_mlp.backward(
        shape, saved, gradient, a.shape[2], pieces, weights + biases, (False, True, False),
        homes[0] + homes[1],
    )  # fmt: skip
    ops_embed.backward(kept, sines, of_told, clocks, network.clocks(parameters.gradient_views))
    return consistency, flow
