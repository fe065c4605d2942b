"""Settings of GTP and the objectives that stand beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gtp_fast.agents.settings import ANY, AgentConfig, Ranges

ObjectiveName = Literal[
    "gtp", "flow", "consistency", "ctm", "solver", "shortcut", "mean-flow", "linear-q"
]


@dataclass(frozen=True)
class GTPConfig(AgentConfig):
    """Settings of GTP."""

    objective: ObjectiveName = "gtp"
    """What the actor minimises. gtp: score approximation, the paper's. flow: the flow loss alone, a
    diffusion or flow-matching policy. consistency: tau = 0. ctm: compared at time 0, target by the
    student itself, EDM weights. solver: the intermediate point from a solver of the learned field.
    shortcut: two half jumps for a target. mean-flow: the identity of the average velocity.
    linear-q: w = 1, and minus lambda-q times Q of the actor's own actions.
    """
    eta: tuple[float, ...] = (1.0,)
    """Strength of value guidance: w = exp(eta max(0, A) / std A). 0 clones the data. One value, or
    one per seed.
    """
    trajectory_eta: float = 0.0
    """Strength of guidance by whole episodes: rows of an episode are drawn in proportion to
    exp(trajectory_eta max(0, A)), A its return (its success, where the task has a goal) above what
    its first state promises, in standard deviations. 0 draws all rows alike, as the paper does.
    """
    trajectory_maximum: float = 20.0
    """Largest weight of an episode in these draws, where one as good as promised has 1."""
    trajectory_least_share: float = 0.5
    """Least effective sample size of the rows, as a share; trajectory_eta is lowered to keep it."""
    lambda_flow: tuple[float, ...] = (1.0,)
    """Weight of the flow loss beside the consistency loss. One value, or one per seed."""
    lambda_q: tuple[float, ...] = (0.01,)
    """Weight of Q in linear-q (the paper: 0.01, 0.1, 1). One value, or one per seed."""
    k: int = 5
    """Steps of the sampler, in training and acting (the paper: 5, or 2 for its fast variant)."""
    solver: Literal["euler", "heun"] = "euler"
    """Solver of the learned field: of objective solver, and of the sampler of objective flow."""
    solver_steps: int = 3
    """Solver steps from t to u of objective solver (the paper: at most three)."""
    precondition: Literal["edm", "cm", "none"] = "edm"
    """Preconditioning of the map: edm, cm or none."""
    sigma_data: float = 0.5
    """Assumed standard deviation of actions in the preconditioning."""
    t_min: float = 0.002
    """Smallest time of the grid."""
    t_max: float = 80.0
    """Largest time T, the scale of the initial noise."""
    u_mode: Literal["adjacent", "uniform"] = "adjacent"
    """Law of the intermediate time u: adjacent (the node below t) or uniform (any node from tau to
    t).
    """
    t_law: Literal["uniform", "lognormal"] = "uniform"
    """Law of t over the nodes: uniform, or lognormal as in improved consistency training."""
    teacher: Literal["ema", "online"] = "ema"
    """Network of the target's jump: the moving average, or the student itself without gradient."""
    compare_at: Literal["tau", "zero"] = "tau"
    """Where the two jumps are compared: at tau, or at time 0 after a jump of the moving average."""
    flow_weight: Literal["none", "edm"] = "none"
    """Weight of the flow loss in t: none, or (t^2 + sd^2) / (t sd)^2 of EDM."""
    huber: bool = False
    """Pseudo-Huber distance for the consistency loss in place of the squared one."""
    first_nodes: int = 10
    """Intervals of the time grid in the first stage; they double from stage to stage."""
    last_nodes: int | None = None
    """Intervals in the last stage; by default ema_rate x updates, kept within 10 and 1280."""
    value_samples: int = 1
    """Policy actions averaged for V(s)."""
    weight_maximum: float | None = 100.0
    """Largest weight w; None for the paper's strict, unclamped form."""
    advantage_start: int | None = 0
    """Update from which the advantage weights w count; before it w = 1 while the critic learns.
    None: never, and no critic is trained.
    """
    noise_scale: float = 1.0
    """Scale of the initial noise when the policy acts, 0 for none; training samples with all of
    it.
    """


def ranges(config: GTPConfig) -> Ranges:
    """Return the range of each setting of GTP's own."""
    return {
        "eta": ANY,
        "trajectory_eta": (0, 100),
        "trajectory_maximum": (1, 1e6),
        "trajectory_least_share": (0, 1),
        "lambda_flow": ANY,
        "lambda_q": ANY,
        "k": (1, 64),
        "solver_steps": (1, 64),
        "sigma_data": (1e-6, math.inf),
        "t_min": (1e-6, config.t_max),
        "t_max": (1e-6, 1e6),
        "first_nodes": (1, 1e6),
        "last_nodes": (1, 1e6),
        "value_samples": (1, 1024),
        "weight_maximum": (1, math.inf),
        "advantage_start": ANY,
        "noise_scale": (0, 10),
    }
