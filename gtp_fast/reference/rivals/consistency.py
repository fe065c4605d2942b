"""Consistency training as Consistency-AC does it: neighbouring times of a growing grid."""

from __future__ import annotations

import math

from torch import Tensor


def consistency_nodes(step: int, total_updates: int, first: int = 2, last: int = 150) -> int:
    """Return the number of grid nodes at a step.

    ceil(sqrt(k / K (s1^2 - s0^2) + s0^2) - 1) + 1.
    """
    grown = step / total_updates * (last**2 - first**2) + first**2
    return math.ceil(math.sqrt(grown) - 1.0) + 1


def neighbour_loss(student: Tensor, teacher: Tensor, above: Tensor, below: Tensor) -> Tensor:
    """Return the consistency loss of neighbouring times: [S].

    Mean over batch and dimensions of 100 / (t_2 - t_1) |g_theta - g_minus|^2. student at t_2 =
    above, teacher at t_1 = below: [S, B, A]; times: [S, B].
    """
    weight = 100.0 / (above - below)
    return (weight[..., None] * (student - teacher.detach()).square()).mean((-2, -1))
