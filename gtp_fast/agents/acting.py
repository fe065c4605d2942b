"""How an agent's policy acts: its sampler, its candidates, and the numbers they depend on."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gtp_fast.errors import UserError
from gtp_fast.ops.candidates import CandidateSampler, Rule, Score
from gtp_fast.ops.sampling import Sampler
from gtp_fast.reference import FoldedPolicy

ActBy = Literal["map", "euler"]
"""What acts of a flow map: its K jumps, or K Euler steps of its flow phi(., t, t)."""


class Acting(NamedTuple):
    """A policy as it acts, with the numbers that its score and latency depend on."""

    sampler: Sampler
    steps: int
    """K"""
    candidates: int
    noise_scale: float
    rule: str | None
    """How one action is made of several candidates; None with one."""
    act_by: ActBy | None
    """What acts of a flow map; None where there is no choice."""


def act_by_of(asked: ActBy | None, own: ActBy | None) -> ActBy | None:
    """Return what acts of a flow map; UserError for a choice where there is none.

    asked: None leaves the choice to the agent; own: that of the agent, None where it has none.
    """
    if asked is not None and own is None:
        raise UserError(f"--act-by {asked} needs a flow map, which this agent lacks: leave it out.")
    return asked or own


def noise_scaled(policy: FoldedPolicy, asked: float | None, own: float) -> FoldedPolicy:
    """Return a policy with its initial noise scaled; UserError where it draws no noise.

    asked: None leaves the scale to the agent; own: that of the agent.
    """
    scale = own if asked is None else asked
    if scale != own and not policy.initial_scale:
        raise UserError(
            f"noise_scale = {scale:g} does nothing: this agent's policy draws no noise; leave it "
            "out."
        )
    return policy._replace(initial_scale=scale * policy.initial_scale)


def rule_of(count: int, asked: Rule | None, own: Rule) -> Rule | None:
    """Return how one action is made of `count` candidates; None of a single one."""
    if count > 1:
        return asked or own
    if asked is not None:
        raise UserError(f"--candidate-rule {asked} has one candidate: give --num-candidates too.")
    return None


def check_differ(policy: FoldedPolicy, asked: int | None) -> None:
    """Raise UserError for several candidates of a policy without noise, which are one action.

    asked: number of candidates; None leaves it to the agent.
    """
    if (asked or 1) > 1 and policy.draws == 1 and not policy.initial_scale:
        raise UserError(
            f"--num-candidates {asked} does nothing: this policy draws no noise, so every candidate"
            " is the same action; give 1."
        )


def among_candidates(
    sampler: Sampler, policy: FoldedPolicy, score: Score | None, count: int, rule: Rule
) -> Sampler:
    """Return a sampler of the best or the mean of `count` actions; UserError without a critic."""
    if score is None and rule != "mean":
        raise UserError(
            f"--num-candidates {count} needs a critic to choose with, and this agent trains none: "
            "leave it at 1, or take --candidate-rule mean."
        )
    return CandidateSampler(sampler, policy.last_bias, score, count, rule)
