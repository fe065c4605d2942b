"""Settings of GTP and of the actor's other objectives."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from gtp_fast.agents.acting import ActBy
from gtp_fast.agents.settings import ANY, AgentConfig, Ranges, check_times
from gtp_fast.errors import UserError

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
    """Strength of the advantage weights w = exp(eta max(0, A) / std A); by default no critic is
    trained and whole episodes guide instead (--trajectory-eta). 0 clones the data. One value, or
    one per seed.
    """
    trajectory_eta: float = 0.0
    """Strength of guidance by whole episodes: rows of an episode are drawn in proportion to
    exp(trajectory_eta max(0, A)), A its return (its success, where the task has a goal) above what
    its first state promises, in standard deviations. 0 draws all rows alike; the paper's weights
    then need --advantage-start 0.
    """
    trajectory_maximum: float = 20.0
    """Largest weight of an episode in these draws; an episode as good as promised has 1."""
    trajectory_least_share: float = 0.5
    """Least effective sample size of the rows, as a share; trajectory_eta is lowered to keep it."""
    trajectory_piece: int | None = None
    """Rows of the pieces of episodes that are judged and drawn in place of whole ones, each by its
    discounted return to go: for data whose episodes chase many goals. None: whole episodes.
    """
    lambda_flow: tuple[float, ...] = (1.0,)
    """Weight of the flow loss; the consistency loss has 1. One value, or one per seed."""
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
    consistency_weight: Literal["none", "gap", "nodes"] = "none"
    """Weight of the consistency loss: none (the paper's), gap (1 / (t - u), iCT's), nodes (N - 1).
    """
    weight_decay: float = 0.0
    """Weight decay of the actor (AdamW): a step first takes weight_decay x learning_rate of every
    parameter off it, against overfitting small data. 0, the paper's, for none.
    """
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
    advantage_scale: Literal["std", "mad"] = "std"
    """Scale of A in w: std (the paper's), or mad (1.4826 median absolute deviations, ours)."""
    value_by: Literal["samples", "network"] = "samples"
    """V(s): samples (mean Q of policy actions) or network (one fitted to that mean); both ours."""
    advantage_start: int | None = 0
    """Update from which the advantage weights w count; before it w = 1 while the critic learns.
    None: never, and no critic is trained.
    """
    noise_scale: float = 1.0
    """Scale of the initial noise when the policy acts, 0 for none; training samples with all of
    it.
    """
    act_by: ActBy = "map"
    """What acts: map (K jumps, the paper's) or euler (K Euler steps of phi(., t, t) over times of
    their own, ours).
    """

    def check_new(self) -> None:
        """Raise UserError for settings that a new run may not have."""
        super().check_new()
        check_times(self.t_min, self.t_max)
        if self.num_candidates > 1 and not self.noise_scale:
            raise UserError(
                f"--num-candidates {self.num_candidates} does nothing with --noise-scale 0, where "
                "every candidate is the same action: leave one of them out."
            )


RANGES: Ranges = {
    "eta": ANY,
    "trajectory_eta": (0, 100),
    "trajectory_maximum": (1, 1e6),
    "trajectory_least_share": (0, 1),
    "trajectory_piece": (1, math.inf),
    "lambda_flow": ANY,
    "lambda_q": ANY,
    "weight_decay": (0, 10),
    "k": (1, 64),
    "solver_steps": (1, 64),
    "sigma_data": (1e-6, math.inf),
    "t_min": (1e-6, 1e6),
    "t_max": (1e-6, 1e6),
    "first_nodes": (1, 1e6),
    "last_nodes": (1, 1e6),
    "value_samples": (1, 1024),
    "weight_maximum": (1, math.inf),
    "advantage_start": ANY,
    "noise_scale": (0, 10),
}


JUMP, FLOW, GUIDANCE = "consistency_loss", "flow_loss", "guidance_loss"
VALUE = "value_loss"
FACTS = ("q", "advantage_std", "weight", "weight_max", "actor_gradient", "critic_gradient")
"""What an update reports besides its losses."""
LARGEST = 1e4
"""A consistency loss beyond which its policy is lost: actions lie in [-1, 1], so whatever the
weights, errors are then of 10 or more."""
_PRESETS: dict[str, dict[str, Any]] = {
    # CTM: the jump from u is the student's own, both meet at time 0, and EDM weighs the flow loss.
    "ctm": {"compare_at": "zero", "teacher": "online", "flow_weight": "edm"},
}
_PLAIN = {"compare_at": "tau", "teacher": "ema", "flow_weight": "none", "huber": False}
_WITHOUT_TARGET = ("flow", "mean-flow")
_WITHOUT_U = (*_WITHOUT_TARGET, "shortcut")


def resolved(config: GTPConfig) -> GTPConfig:
    """Return the settings with those that their objective fixes.

    Raises UserError for a setting that has no meaning in the objective.
    """
    if config.objective == "flow" and config.act_by != "map":
        raise UserError(
            f"--act-by {config.act_by} has no meaning for --objective flow, which acts by "
            "--solver: leave it out."
        )
    if config.act_by == "euler" and not all(config.lambda_flow):
        raise UserError(
            "--act-by euler acts by phi(., t, t), which --lambda-flow 0 leaves untrained: act by "
            "the map, or give a --lambda-flow above 0."
        )
    for name in ("compare_at", "teacher"):
        value = getattr(config, name)
        if config.objective in _WITHOUT_TARGET and value != _PLAIN[name]:
            raise UserError(
                f"--{name.replace('_', '-')} {value} has no meaning for --objective "
                f"{config.objective}, which has no target network: leave it out."
            )
    for name in ("advantage_scale", "value_by"):
        value = getattr(config, name)
        if config.objective == "linear-q" and value != getattr(GTPConfig, name):
            raise UserError(
                f"--{name.replace('_', '-')} {value} has no meaning for --objective linear-q, "
                "whose weights are 1: leave it out."
            )
    if config.objective in _WITHOUT_U and config.consistency_weight != "none":
        raise UserError(
            f"--consistency-weight {config.consistency_weight} has no meaning for --objective "
            f"{config.objective}, which draws no u: leave it out."
        )
    return replace(config, **_PRESETS.get(config.objective, {}))


def term_names(config: GTPConfig) -> tuple[str, ...]:
    """Return the names of the actor's loss terms, in the order of their metrics."""
    if config.objective == "flow":
        return (FLOW,)
    return (JUMP, FLOW, GUIDANCE) if config.objective == "linear-q" else (JUMP, FLOW)


def limits(config: GTPConfig) -> dict[str, float]:
    """Return the limit of each loss that may grow without becoming infinite, by name."""
    return {JUMP: LARGEST} if config.objective == "mean-flow" else {}


def unfused(config: GTPConfig) -> str:
    """Return why the fused losses cannot serve these settings, or an empty string."""
    if config.objective not in ("gtp", "linear-q"):
        return f"--objective {config.objective} has no fused form"
    for name, plain in _PLAIN.items():
        value = getattr(config, name)
        if value != plain:
            shown = "" if value is True else f" {value}"
            return f"--{name.replace('_', '-')}{shown} has no fused form"
    return ""


def unfused_update(config: GTPConfig) -> str:
    """Return why no update is fused as a whole under these settings, or an empty string."""
    if config.objective == "linear-q":
        return "the sampler's gradient in --objective linear-q has no fused form"
    if config.value_by == "network":
        return "--value-by network is no part of the fused update"
    return unfused(config)


def wholly_fused(config: GTPConfig) -> bool:
    """Return whether every part of an update has a fused form under these settings."""
    return not unfused_update(config)
