"""The state of GTP: what an update reads and writes, and its policy."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.agents.double_q import DoubleQ
from gtp_fast.agents.gtp.config import (
    FACTS,
    RANGES,
    VALUE,
    GTPConfig,
    limits,
    resolved,
    term_names,
    unfused,
    unfused_update,
)
from gtp_fast.agents.settings import check
from gtp_fast.agents.setup import Setup
from gtp_fast.agents.state_value import StateValue
from gtp_fast.errors import UserError
from gtp_fast.networks import FlowMapNetwork
from gtp_fast.networks.learner import Learner
from gtp_fast.networks.parameters import Parameters, initialise
from gtp_fast.ops.operations import Form
from gtp_fast.ops.sampling import Sampler
from gtp_fast.reference import FoldedPolicy, Plan

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch, TransitionTable

SamplerPlan = Callable[[Tensor], Plan]


@functools.cache
def _times(k: int, t_min: float, t_max: float) -> tuple[float, ...]:
    return tuple(reference.sampling_times(k, t_min, t_max, torch.float64).tolist())


def sampler_plan(config: GTPConfig) -> SamplerPlan:
    """Return how the policy of an objective is sampled over a time grid."""
    if config.objective == "flow":
        return reference.heun_plan if config.solver == "heun" else reference.euler_plan
    if config.objective == "consistency":
        return reference.consistency_plan
    return reference.map_plan


class GTPState(Agent):
    """Networks, learners, time grid and settings of each seed; an agent without its update.

    A checkpoint holds the two learners, `actor` and `critic`; all else follows from the settings
    and the step.
    """

    Config = GTPConfig

    config: GTPConfig

    def __init__(self, config: GTPConfig, setup: Setup):
        check(config, RANGES)
        super().__init__(resolved(config), setup)
        self._note_unfused()
        c, count = self.config, len(self.seeds)
        self.act_by = None if c.objective == "flow" else c.act_by
        self.loss_limits = limits(c)
        self.network = FlowMapNetwork(
            self.observation_dim, self.action_dim, c.width, c.depth, self.ops.mlp, self.ops.embed,
            self.ops.affine,
        )  # fmt: skip
        actor = Parameters(count, self.network.shapes(), self.device, self.dtype)
        initialise(actor, self.keys, (0,))
        self.actor, self.critic = Learner(actor, count), DoubleQ(self)
        self.actor.weight_decay = c.weight_decay
        self.actor.limit = max(self.loss_limits.values(), default=math.inf)
        self.full_eta = self.per_seed(c.eta, "eta")
        self.lambda_flow = self.per_seed(c.lambda_flow, "lambda-flow")
        self.lambda_q = self.per_seed(c.lambda_q, "lambda-q")
        self.rate = self.per_seed(c.learning_rate, "learning-rate")
        self._decide_guidance()
        network = c.value_by == "network" and not self.clones
        self.value = StateValue(self, "mish", decays=True) if network else None
        self.loss_names = ("critic_loss", *([VALUE] if network else []), *term_names(c))
        self.metric_names = (*self.loss_names, *FACTS)
        self.times = reference.sampling_times(c.k, c.t_min, c.t_max, self.dtype).to(self.device)
        self.prepare(1)

    def _note_unfused(self) -> None:
        """Record what has no fused form and why; UserError where fused forms are asked for."""
        c, found = self.config, dict[str, Form]()
        if reason := unfused(c):
            found |= dict.fromkeys(("perturb", "loss"), Form("reference", reason))
        elif reason := unfused_update(c):
            found["update"] = Form("single operations", reason)
        if c.advantage_scale != "std" and self.ops.forms["weigh"].name == "triton":
            reason = f"--advantage-scale {c.advantage_scale} has no form on a GPU"
            found["weigh"] = Form("reference", reason)
            found.setdefault("update", Form("single operations", reason))
        if found and self.backend == "fused":
            reason = next(iter(found.values())).reason
            raise UserError(f"--backend fused is not available: {reason}; use --backend auto.")
        if found and self.backend == "auto":
            weigh = reference.weigh if "weigh" in found else self.ops.weigh
            self.ops = replace(self.ops, weigh=weigh, forms=self.ops.forms | found)

    def _decide_guidance(self) -> None:
        """Decide what guides: the weights w, Q of the actor's own actions, or nothing."""
        c = self.config
        linear = c.objective == "linear-q"
        if linear:
            self.full_eta.zero_()
        self.eta = self.full_eta.clone()
        strengths = c.lambda_q if linear else c.eta
        self.guided = any(strengths)
        if self.guided and c.trajectory_eta and not all(strengths):
            raise UserError(
                f"--{'lambda-q' if linear else 'eta'} 0 clones, and --trajectory-eta guides all "
                "seeds alike: give the clones a run of their own, or --trajectory-eta 0."
            )
        self.clones = not self.guided or (c.advantage_start is None and not linear)

    @functools.cached_property
    def chain(self) -> Sampler:
        """The sampler of an update, packed when an update first needs it."""
        return self.ops.chain(self.folded("ema"))

    def learners(self) -> dict[str, Learner]:
        """Return actor and critic, and the value network where there is one."""
        of_value = {"value": self.value.learner} if self.value else {}
        return {"actor": self.actor, "critic": self.critic.learner} | of_value

    def prepare(self, total_updates: int) -> None:
        """Fix the length of the run, which decides the schedule of N."""
        super().prepare(total_updates)
        c = self.config
        self.last_nodes = c.last_nodes or reference.schedule_ceiling(total_updates, c.ema_rate)
        self.first_nodes = min(c.first_nodes, self.last_nodes)
        self.nodes = torch.ones(self.last_nodes + 1, device=self.device, dtype=self.dtype)
        self.cdf = (
            None if c.t_law == "uniform" else torch.full_like(self.nodes, 2**32, dtype=torch.int64)
        )
        self.node_count = torch.zeros((), device=self.device, dtype=torch.int64)
        self.num_nodes = 0
        self.weighs: bool | None = None

    def advance(self, step: int, table: TransitionTable) -> None:
        """Rewrite the time grid at the start of a stage, and eta at its first update.

        The first `num_nodes` entries of `nodes`, and of `cdf`, the law of t over them, are in use.
        """
        c, weighs = self.config, step >= self._start
        if weighs != self.weighs:
            self.eta.copy_(self.full_eta * weighs)
            self.weighs = weighs
        count = reference.schedule(step, self.total_updates, self.first_nodes, self.last_nodes)
        if count != self.num_nodes:
            nodes = reference.karras_nodes(count, c.t_min, c.t_max, self.dtype)
            self.nodes[:count] = nodes.to(self.device)
            if self.cdf is not None:
                cdf = reference.lognormal_cdf(count, c.t_min, c.t_max)
                self.cdf[:count] = cdf.to(self.device)
            self.node_count.fill_(count)
            self.num_nodes = count

    def updates_per_advance(self, step: int) -> int:
        """Return how many updates are left of the stage that this one belongs to."""
        left = reference.stage_left(step, self.total_updates, self.first_nodes, self.last_nodes)
        return min(left, self._start - step) if step < self._start else left

    @property
    def _start(self) -> int:
        return self.config.advantage_start or 0

    def folded(
        self,
        weights: str = "ema",
        k: int | None = None,
        plan: SamplerPlan | None = None,
        times: tuple[float, ...] | None = None,
    ) -> FoldedPolicy:
        """Return the K-step policy of every seed with its constants folded.

        plan: how it is sampled over the time grid, by default as `sampler_plan` says. times: the
        grid, K + 1 descending times, by default the paper's.
        """
        c = self.config
        return self.network.fold(
            self.actor.average_views if weights == "ema" else self.actor.views,
            times or _times(k or c.k, c.t_min, c.t_max),
            kind=c.precondition,
            sigma_data=c.sigma_data,
            t_min=c.t_min,
            plan=plan or sampler_plan(c),
        )

    def step_levels(self) -> Tensor:
        """Return the time levels [K, 2] of the sampler's steps: of each step's t and tau."""
        c = self.config
        plan = reference.map_plan(reference.sampling_times(c.k, c.t_min, c.t_max, torch.float64))
        return reference.noise_level(plan.times, c.t_min).to(self.device, self.dtype)

    def clean(
        self,
        views: Mapping[str, Tensor],
        a_t: Tensor,
        t: Tensor,
        tau: Tensor,
        batch: Batch,
        network: FlowMapNetwork | None = None,
    ) -> Tensor:
        """Return phi(s, a_t, t, tau) [S, B, A] of a set of weights; a_t [S, B, A], times [S, B]."""
        c = self.config
        skip, out, c_in = reference.precondition(t, c.precondition, c.sigma_data, c.t_min)
        levels = torch.stack([reference.noise_level(r, c.t_min) for r in (t, tau)], -1)
        output = (network or self.network)(views, c_in[..., None] * a_t, levels, batch.observation)
        return reference.clean_action(a_t, output, skip, out)

    def weigh(self, batch: Batch, value_action: Tensor | None) -> tuple[Tensor, ...]:
        """Return w [S, B] (eq. 14) and, [S] each: mean Q, scale of A, mean w, largest w.

        value_action: policy actions [S, n B, A] at the batch's states, n for each, for V(s); None
        where the value network gives it.
        """
        c, s, rows = self.config, batch.observation, batch.action.shape[1]
        with torch.no_grad():
            if value_action is None:
                assert self.value is not None, "without actions V(s) needs its network"
                q, v = self.critic.values(s, batch.action), self.value.values(s)
                values = torch.cat((q, v.expand_as(q)), -1)
            else:
                values = self.critic.values(s, torch.cat((batch.action, value_action), 1))
            return self.ops.weigh(values, self.eta, rows, c.weight_maximum, c.advantage_scale)

    def fit_value(
        self, batch: Batch, value_action: Tensor, step: int | Tensor
    ) -> dict[str, Tensor]:
        """Step V(s) towards the mean min-Q of n policy actions [S, n B, A]; return its loss.

        The loss is half the mean squared error, by the critic as it is after its own step. Nothing
        happens, and nothing is returned, where actions themselves stand for V(s).
        """
        if self.value is None:
            return {}
        with torch.no_grad():
            q = self.critic.values(batch.observation, value_action).amin(0)
            target = q.reshape(len(q), -1, batch.action.shape[1]).mean(1)
        loss, _ = self.value.step(batch.observation, target, 0.5, step)
        return {VALUE: loss}
