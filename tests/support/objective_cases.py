"""Every objective of GTP in small, for its tests."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from agent_cases import TINY, build

from gtp_fast.agents.gtp import GTP, GTPConfig

CASES = {
    "gtp, online teacher": replace(TINY, teacher="online", huber=True),
    "gtp, at zero": replace(TINY, compare_at="zero", flow_weight="edm", t_law="lognormal"),
    "flow": replace(TINY, objective="flow"),
    "flow, Heun": replace(TINY, objective="flow", solver="heun", k=3),
    "consistency": replace(TINY, objective="consistency"),
    "consistency, uniform u": replace(TINY, objective="consistency", u_mode="uniform"),
    "ctm": replace(TINY, objective="ctm"),
    "solver": replace(TINY, objective="solver"),
    "solver, Heun": replace(TINY, objective="solver", solver="heun", solver_steps=2),
    "shortcut": replace(TINY, objective="shortcut"),
    "mean-flow": replace(TINY, objective="mean-flow"),
    "linear-q": replace(TINY, objective="linear-q", lambda_q=(0.1,)),
}
each = pytest.mark.parametrize("case", CASES)


def double(config: GTPConfig, seeds: tuple[int, ...] = (0, 1), **options) -> GTP:
    return build(config, seeds, backend="reference", dtype=torch.float64, **options)
