"""Settings with which an agent cannot work: refused of new runs, loaded of older ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from agent_cases import make, tiny

from gtp_fast.errors import UserError


def test_a_grid_of_times_that_would_shrink_is_refused() -> None:
    sizes = {"first_nodes": 151, "last_nodes": 150}
    with pytest.raises(UserError, match="--first-nodes 151 is more than --last-nodes 150"):
        make("consistency-ac", (0,), tiny("consistency-ac", **sizes))
    make("consistency-ac", (0,), tiny("consistency-ac", first_nodes=150, last_nodes=150))


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("consistency-ac", {"t_min": 100.0}, "--t-min 100 must lie below --t-max 80"),
        ("consistency-ac", {"t_min": 80.0}, "must lie below"),
        ("consistency-ac", {"t_last": 100.0}, "--t-last 100 must lie within --t-min 0.002 and"),
        ("gtp", {"t_min": 80.0}, "--t-min 80 must lie below --t-max 80"),
        ("diffusion-ql", {"beta_min": 20.0}, "--beta-min 20 and --beta-max 10 are no schedule"),
        ("diffusion-ql", {"beta_max": 0.0, "beta_min": 0.0}, "are no schedule of noise"),
        ("diffusion-ql", {"beta_max": 1e6}, "are no schedule of noise"),
        ("diffusion-ql", {"eta": (math.inf,)}, "--eta inf is out of range"),
        ("fql", {"alpha": (math.inf,)}, "--alpha inf is out of range"),
        ("fql", {"width": 1}, "--width 1 leaves the critic a constant"),
        ("sscql", {"width": 1}, "--width 1 leaves the critic a constant"),
        ("iql", {"beta": (math.inf,)}, "--beta inf is out of range"),
        ("iql", {"expectile": 1.0}, "--expectile 1 must lie between"),
        ("gtp", {"num_candidates": 3, "noise_scale": 0.0}, "--num-candidates 3 does nothing with"),
        ("iql", {"num_candidates": 3}, "--num-candidates 3 does nothing: IQL acts by its mean"),
    ],
)
def test_settings_that_cannot_work_are_refused_of_new_runs(
    name: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        tiny(name, **settings).check_new()
    # A folder of an older run still gives its policy.
    make(name, (0,), tiny(name, **settings))


def test_the_noise_of_diffusion_ql_may_be_as_strong_as_single_precision_bears() -> None:
    strongest = tiny("diffusion-ql", beta_min=80.0, beta_max=80.0)
    strongest.check_new()
    agent: Any = make("diffusion-ql", (0,), strongest)
    assert all(torch.isfinite(numbers).all() for numbers in agent.folded().schedule)
    assert all(row > 0.0 for row in agent.signal.tolist())
