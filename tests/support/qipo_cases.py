"""Small agents of QIPO for its tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import by_hand
import torch

from gtp_fast.agents.rivals.qipo import QIPO
from gtp_fast.agents.rivals.qipo_config import QIPOConfig
from gtp_fast.agents.rivals.qipo_variants import QIPOOT, QIPODiff, QIPODiffConfig
from gtp_fast.agents.setup import Setup

SHARED: dict[str, Any] = {
    "width": 4, "depth": 2, "batch_size": 2, "support": 3, "beta": (0.8, 2.0), "q_alpha": 1.5,
    "discount": 0.9, "ema_rate": 0.1, "behaviour_fraction": 0.25, "warmup_fraction": 0.25,
}  # fmt: skip
WAYS = ("drawn", "kept")
KINDS: dict[str, tuple[type[QIPO], QIPOConfig]] = {
    "diff": (QIPODiff, QIPODiffConfig(k=4, **SHARED)),
    "ot": (QIPOOT, QIPOConfig(k=3, **SHARED)),
}
TOTAL = 16


def build(kind: str, stirred: bool = True, **changes: Any) -> QIPO:
    make, config = KINDS[kind]
    setup = Setup(3, 2, (5, 6), "cpu", "reference", torch.float64)
    agent = make(replace(config, **changes), setup)
    agent.prepare(TOTAL)
    if stirred:
        by_hand.stir(agent)
        for number, kept in enumerate((agent.behaviour.weights, agent.support.weights)):
            wave = torch.arange(kept.flat.numel(), dtype=kept.flat.dtype).view_as(kept.flat)
            kept.flat.add_(0.2 * torch.sin(0.9 * wave + number))
    return agent
