"""Training, end to end, on laws that are known: two modes on a line, four goals in the plane."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agent_cases import behaviour_table, build
from oracles import TWO_MODES, Array, TableMap, judge, normal_scores

from gtp_fast import reference
from gtp_fast.agents.gtp import GTP, GTPConfig
from gtp_fast.data.table import TransitionTable
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream

SEEDS = (0, 1, 2)
STEPS = (1, 2, 5)
COUNT = 2001


def train(agent: GTP, table: TransitionTable, updates: int) -> None:
    """Train at the full rate for half of the updates, then down to a tenth of it."""
    agent.prepare(updates)
    full = agent.rate.clone()
    for step in range(updates):
        agent.rate.copy_(full * min(1.0, 0.1 + 1.8 * (1 - step / updates)))
        agent.update(table, step)


def draw(agent: GTP, steps: int, observation: torch.Tensor, noise: torch.Tensor) -> Array:
    """Sample every seed's average policy: [S, B, A]."""
    rows = observation.expand(len(SEEDS), len(noise), -1), noise.expand(len(SEEDS), -1, -1)
    return reference.folded_sample(agent.folded("ema", steps), *rows).double().numpy()


@pytest.mark.parametrize(
    ("u_mode", "kind", "rate", "updates", "allowed"),
    [
        ("adjacent", "edm", 6e-3, 2500, (0.06, 0.06, 0.05)),
        ("uniform", "none", 3e-3, 1500, (0.05, 0.06, 0.05)),
    ],
)
def test_training_reaches_the_fixed_point_of_its_law_of_u(
    u_mode, kind, rate, updates, allowed
) -> None:
    """Judge W1 between the law a seed learned and the population's fixed point, for K = 1, 2, 5."""
    action = torch.from_numpy(TWO_MODES.quantiles(20_000)).float()[:, None]
    config = GTPConfig(
        eta=(0.0,), width=64, depth=2, first_nodes=40, last_nodes=40, learning_rate=(rate,),
        ema_rate=0.05, u_mode=u_mode, precondition=kind,
    )  # fmt: skip
    agent = build(config, SEEDS, observation_dim=1, action_dim=1)
    train(agent, behaviour_table(torch.zeros(len(action), 1), action), updates)
    scores = normal_scores(COUNT)
    noise = torch.from_numpy(scores).float()[:, None]
    points = {law: TableMap(TWO_MODES, 41, law, 401) for law in reference.U_MODES}
    other = next(law for law in reference.U_MODES if law != u_mode)
    for steps, limit in zip(STEPS, allowed, strict=True):
        target, wrong = (
            np.sort(points[law].sample(scores, steps).clip(-1, 1)) for law in (u_mode, other)
        )
        learned = np.sort(draw(agent, steps, torch.zeros(1, 1), noise)[..., 0])
        distance = abs(learned - target).mean(1)
        report = f"K={steps}: W1 {distance.round(3)}, seeds {[judge(x) for x in learned]}"
        assert distance.mean() < limit, report
        assert distance.max() < 1.5 * limit, report
        # The fixed point of the other law, of one step of the denoiser, is out of reach.
        assert (abs(learned - wrong).mean(1) > 1.2 * distance).all(), report


def test_four_goals_are_all_kept() -> None:
    """Count the goals that 1000 actions from one state reach; the action depends on the state."""
    keys = philox.key_tensor([7])
    goals = torch.tensor([[0.6, 0.6], [0.6, -0.6], [-0.6, 0.6], [-0.6, -0.6]])
    place, slip = (philox.normals(keys, i, Stream.COLLECT, 8000, 2)[0] for i in range(2))
    place = 0.2 * place.clamp(-1, 1)
    action = goals[torch.arange(8000) % 4] - place + 0.05 * slip
    config = GTPConfig(
        eta=(0.0,), width=64, depth=2, first_nodes=40, last_nodes=40, learning_rate=(6e-3,),
        ema_rate=0.05, precondition="none",
    )  # fmt: skip
    agent = build(config, SEEDS, observation_dim=2, action_dim=2)
    train(agent, behaviour_table(place, action.clamp(-1, 1)), 1500)
    noise = philox.normals(keys, 9, Stream.ACT, 1000, 2)[0]
    for state in ([0.0, 0.0], [0.15, -0.1]):
        here = torch.tensor([state])
        for seed, chosen in enumerate(draw(agent, 5, here, noise)):
            miss = torch.cdist(here + torch.from_numpy(chosen).float(), goals)
            nearest = miss.min(1)
            reached = torch.bincount(nearest.indices[nearest.values < 0.25], minlength=4)
            assert reached.sum() > 550, (state, seed, reached)
            assert reached.min() > 100, (state, seed, reached)
