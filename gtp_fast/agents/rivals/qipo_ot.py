"""QIPO-OT: QIPO on straight lines from noise to actions, sampled by Euler steps."""

from __future__ import annotations

from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.rivals.flows import euler_steps
from gtp_fast.agents.rivals.qipo import QIPO
from gtp_fast.networks.actor import Steps


class QIPOOT(QIPO):
    """QIPO on straight lines from noise to actions, sampled by Euler steps."""

    clock = "scalar"

    def steps_of(self, k: int) -> Steps:
        """Return K Euler steps."""
        return euler_steps(self.actor.parameters.flat, k)

    def noised(self, a: Tensor, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (1 - t) z + t a, t and the velocity a - z."""
        return reference.bridge(z, a, u), u, a - z
