"""Settings that every agent has, and the check of their ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from gtp_fast.errors import UserError
from gtp_fast.ops.candidates import Rule

Ranges = Mapping[str, tuple[float, float]]
ANY = (0.0, math.inf)
_UNBOUNDED = ("weight_maximum", "max_gradient_norm")


@dataclass(frozen=True)
class CloneConfig:
    """Settings of every agent, those that need no critic included."""

    once: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Settings that younger runs alone name, as older runs had them where not by default."""
    candidates_differ: ClassVar[bool] = True
    """Whether two actions of one state differ: not those of a policy without noise."""

    batch_size: int = 256
    """Transitions per update and seed."""
    learning_rate: tuple[float, ...] = (3e-4,)
    """Adam's rate for the actor. One value, or one per seed."""
    cosine_decay: bool = False
    """Let the learning rates fall to zero along a cosine over the run."""
    width: int = 256
    """Units of each hidden layer, in actor and critic; a run of gtp takes 128 for fewer than
    150,000 transitions.
    """
    depth: int = 3
    """Hidden layers of actor and critic."""
    ema_rate: float = 0.005
    """Rate at which the target actor follows the actor."""
    max_gradient_norm: float | None = None
    """Clip of each network's gradient norm, per seed; None for no clipping."""

    def check_new(self) -> None:
        """Raise UserError for settings that a new run may not have; older runs still load."""
        for name, value in vars(self).items():
            numbers = value if isinstance(value, tuple) else (value,)
            if name not in _UNBOUNDED and math.inf in numbers:
                raise UserError(f"--{name.replace('_', '-')} inf is out of range: give a number.")


@dataclass(frozen=True)
class AgentConfig(CloneConfig):
    """Settings of every agent with a critic.

    Where a paper gives no value the default is ours or that of its nearest source.
    """

    discount: float = 0.99
    """Discount gamma of the TD target."""
    critic_learning_rate: tuple[float, ...] = (3e-4,)
    """Adam's rate for the critic. One value, or one per seed."""
    critic_ema_rate: float = 0.005
    """Rate at which the target critic follows the critic."""
    max_q_backup: int = 0
    """Next actions; the best value backs up (10 in Diffusion-QL's antmaze); 0 for one plain
    sample.
    """
    num_candidates: int = 1
    """Actions drawn for each decision when acting (50 in the authors' evaluation of Diffusion-QL
    and Consistency-AC); see candidate_rule.
    """
    candidate_rule: Rule = "softmax"
    """What acts of several candidates: softmax (one, with probability softmax(Q), as those authors
    do), argmax (the one of the largest Q) or mean (the mean of all, which needs no critic).
    """


@dataclass(frozen=True)
class NormedConfig(AgentConfig):
    """Settings of an agent whose critic has layer norms."""

    def check_new(self) -> None:
        """Raise UserError for settings that a new run may not have."""
        super().check_new()
        if self.width == 1:
            raise UserError(
                "--width 1 leaves the critic a constant, since its hidden layers are normalised: "
                "give 2 or more."
            )


_COMMON: Ranges = {
    "discount": (0, 1),
    "batch_size": (1, math.inf),
    "learning_rate": ANY,
    "critic_learning_rate": ANY,
    "width": (1, 4096),
    "depth": (1, 8),
    "ema_rate": (0, 1),
    "critic_ema_rate": (0, 1),
    "max_q_backup": (0, 1024),
    "max_gradient_norm": (1e-9, math.inf),
    "num_candidates": (1, 1024),
}


def check_times(t_min: float, t_max: float) -> None:
    """Raise UserError where a grid of times has no length."""
    if t_min >= t_max:
        raise UserError(f"--t-min {t_min:g} must lie below --t-max {t_max:g}.")


def check(config: Any, ranges: Ranges) -> None:
    """Raise UserError naming the first setting out of range; ranges: the agent's own.

    A setting that is one of several words must be one that its field knows.
    """
    for name, kind in get_type_hints(type(config)).items():
        known, value = get_args(kind), getattr(config, name)
        if get_origin(kind) is Literal and value not in known:
            raise UserError(
                f"--{name.replace('_', '-')} {value!r:.40} is unknown: choose {', '.join(known)}."
            )
    for name, (low, high) in {**_COMMON, **ranges}.items():
        value = getattr(config, name, None)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not low <= number <= high:
                raise UserError(
                    f"--{name.replace('_', '-')} {number:g} is out of range: {low:g} to {high:g}."
                )
