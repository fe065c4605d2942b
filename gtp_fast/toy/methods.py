"""The special cases that the toy trains: one table for all that shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gtp_fast.agents.gtp import GTPConfig

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, for colour-blind readers too."""


@dataclass(frozen=True)
class Method:
    """One special case: its settings, and its row in the unified view."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    trained_as: str = ""
    """Another method; this one samples its network in a way of its own."""
    guided: bool = False
    """Whether it follows the reward: its law is meant to differ from the data's."""
    choice: str = ""
    """What sets it apart, in few words."""
    tau: str = "any node below t"
    u: str = "the node below t"
    target: str = "Phi^-(a + u z, u, tau)"
    compared: str = "at tau"


METHODS = (
    Method("gtp", choice="jump held against\nthe data's own line"),
    Method(
        "flow, Euler", {"objective": "flow"},
        tau="t", u="-", target="the action itself", compared="at phi(a_t, t, t)",
        choice="tau = t only,\nEuler steps",
    ),
    Method(
        "flow, Heun", {"objective": "flow", "solver": "heun"}, trained_as="flow, Euler",
        tau="t", u="-", target="the action itself", compared="at phi(a_t, t, t)",
        choice="tau = t only,\nHeun steps",
    ),
    Method(
        "consistency", {"objective": "consistency"}, tau="0", compared="at 0",
        choice="tau = 0 only,\nnew noise each step",
    ),
    Method(
        "ctm", {"objective": "ctm"},
        target="Phi(a + u z, u, tau) of the student, no gradient",
        compared="at 0, after the jump of Phi^-",
        choice="compared at 0,\nits own teacher",
    ),
    Method(
        "solver", {"objective": "solver"},
        target="Phi^-(x_u, u, tau), x_u by a solver of the learned field from a_t",
        choice="x_u by a solver of\nthe learned field",
    ),
    Method(
        "shortcut", {"objective": "shortcut"},
        u="the middle node", target="Phi^-(Phi^-(a_t, t, u), u, tau)",
        choice="two half jumps,\nno data behind",
    ),
    Method(
        "mean-flow", {"objective": "mean-flow"},
        u="t (in the limit)", target="r a + q phi - (t - tau) dphi/dt, no gradient",
        compared="at phi(a_t, t, tau)",
        choice="identity with\na time derivative",
    ),
    Method("gtp, eta 1", {"eta": (1.0,)}, guided=True, choice="weighs the data\nby advantage"),
    Method(
        "linear-q 0.1", {"objective": "linear-q", "lambda_q": (0.1,)}, guided=True,
        compared="at tau, and minus lambda_q Q of its own actions",
        choice="adds -0.1 Q of\nits own actions",
    ),
)  # fmt: skip


def config(method: Method, **changes: Any) -> GTPConfig:
    """Return the settings of a method: small networks, one stage of 20 intervals, large rates."""
    own: dict[str, Any] = {
        "eta": (0.0,), "width": 64, "depth": 2, "first_nodes": 20, "last_nodes": 20, "t_max": 5.0,
        "precondition": "none", "learning_rate": (1e-2,), "critic_learning_rate": (3e-3,),
        "ema_rate": 0.05, "critic_ema_rate": 0.05,
    }  # fmt: skip
    return GTPConfig(**(own | method.settings | changes))
