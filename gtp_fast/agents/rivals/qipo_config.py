"""Settings of QIPO, and their ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gtp_fast.agents.settings import ANY, AgentConfig

RANGES: Mapping[str, tuple[float, float]] = {
    "beta": ANY,
    "support": (1, 1024),
    "q_alpha": ANY,
    "max_q_backup": (0, 0),
    "behaviour_fraction": (0, 1),
    "warmup_fraction": (0, 1),
    "renew_every": (1, math.inf),
    "k": (1, 64),
}


@dataclass(frozen=True)
class QIPOConfig(AgentConfig):
    """Settings of QIPO.

    The authors publish no code. What their paper leaves open is as in QGPO, the source of their
    critic, or ours.
    """

    beta: tuple[float, ...] = (1.0,)
    """Inverse temperature: each renewal multiplies the policy by exp(beta Q). One value, or one per
    seed.
    """
    support: int = 16
    """Actions M drawn for a state, in its support set and for the TD target."""
    q_alpha: float = 1.0
    """Inverse temperature of the in-support softmax in the TD target (QGPO's alpha)."""
    behaviour_fraction: float = 0.3
    """Part of the run that clones the behaviour."""
    warmup_fraction: float = 0.3
    """Part of the run after it that trains the critic alone."""
    renew_every: int | None = None
    """Updates between renewals of the support sets (K_renew); by default a fifth of the guided
    phase.
    """
    support_sets: Literal["auto", "kept", "drawn"] = "auto"
    """kept: the M actions of all states of the dataset are drawn at once, at each renewal. drawn:
    those of a batch are drawn in each update. auto: the way that draws fewer actions, if the sets
    take at most 2 GiB for a seed.
    """
    k: int = 10
    """Steps of the sampler, in training and acting."""
    critic_activation: Literal["relu", "mish", "gelu"] = "relu"
    """Activation of the critic: relu, mish or gelu."""
