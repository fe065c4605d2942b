"""What every agent shares: its setup, its acting policy, its checkpoint."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from gtp_fast import ops
from gtp_fast.agents.acting import (
    ActBy,
    Acting,
    act_by_of,
    among_candidates,
    check_differ,
    noise_scaled,
    rule_of,
)
from gtp_fast.agents.settings import CloneConfig
from gtp_fast.agents.setup import Setup
from gtp_fast.agents.state import take
from gtp_fast.data.table import Batch
from gtp_fast.errors import UserError
from gtp_fast.networks.learner import Learner
from gtp_fast.ops.candidates import Rule, Score
from gtp_fast.ops.gather import check_fit
from gtp_fast.ops.sampling import draw_noise
from gtp_fast.reference import FoldedPolicy, Totals, philox
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.data.table import TransitionTable


DIVERGED = "diverged"


class Agent(ABC):
    """One algorithm: `update` is a function of the table and the step.

    It neither logs nor waits for the device.
    """

    Config: ClassVar[type[CloneConfig]]
    metric_names: tuple[str, ...]
    loss_names: tuple[str, ...]
    loss_limits: Mapping[str, float] = MappingProxyType({})
    """Largest value of a loss, by name, beyond which its seed counts as diverged."""
    acting_weights: ClassVar[str] = "ema"
    """Which weights act and are evaluated: `ema` or `online`."""
    phase: int = 0
    """Number of the current form of the update; each form is recorded on its own."""
    nominal_updates: int | None = None
    """When a short run is timed on behalf of a long one, the long one's length."""
    k_is_free: ClassVar[bool] = True
    """Whether K may be chosen when acting."""
    layer_norms: ClassVar[bool] = False
    """Whether the critic has layer norms."""
    act_by: ActBy | None = None
    """What acts of a flow map; None where there is no choice."""

    def __init__(self, config: Any, setup: Setup):
        """Choose the operations; a subclass makes the networks.

        config: settings of the whole run, of every seed in `setup.all_seeds`.
        """
        self.config, self.setup = config, setup
        self.observation_dim, self.action_dim = setup.observation_dim, setup.action_dim
        self.seeds = tuple(setup.seeds)
        self.device, self.dtype = torch.device(setup.device), setup.dtype
        self.backend = setup.backend
        self.keys = philox.key_tensor(self.seeds, self.device)
        self.ops = ops.resolve(
            setup.backend, self.device, setup.dtype, setup.precision, self.layer_norms
        )
        self.diverged = torch.full((len(self.seeds),), -1, device=self.device)
        self.standard = [
            torch.tensor(x, dtype=self.dtype, device=self.device)
            for x in (setup.observation_mean, setup.observation_scale)
        ]

    @abstractmethod
    def update(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Do update number `step` (from 0) in place; return its metrics [len(metric_names), S].

        step: an integer, or a 0-d int64 tensor on the device, which a recorded update reads each
        time it is replayed. With an integer the update calls `advance` itself; with a tensor the
        engine does, because nothing here may then branch on the value or wait for the device.
        """

    def update_into(self, totals: Totals, table: TransitionTable, step: Tensor) -> None:
        """Do update number `step`, add its metrics to totals and 1 to `step`, all on the device.

        It does nothing on the host that a recording would skip when it is replayed.
        """
        self.ops.tally(self.update(table, step), *totals, step, True)

    def advance(self, step: int, table: TransitionTable) -> None:  # noqa: B027
        """Prepare update `step` of a table on the host, in place; nothing by default.

        A second call for the same step changes nothing. Buffers keep their addresses, because a
        recorded update reads them.
        """

    def updates_per_advance(self, step: int) -> int:
        """Return how many updates from `step` on a single call of `advance` serves.

        By default one where a subclass defines `advance`, else any number.
        """
        return 1 if type(self).advance is not Agent.advance else 2**62

    def prepare(self, total_updates: int) -> None:
        """Set the length of the run, before its first update."""
        self.total_updates, learners = total_updates, self.learners()
        shapes = {name: part.parameters.shapes for name, part in learners.items()}
        self.ops.note_sizes(shapes, self.action_dim)
        for part in learners.values():
            part.connect(self.ops.adam, self.ops.differentiate, self.diverged)

    def decay(self, step: int) -> float:
        """Return the factor of the learning rates at this step."""
        if not self.config.cosine_decay:
            return 1.0
        return 0.5 * (1.0 + math.cos(math.pi * step / self.total_updates))

    def decayed(self, rate: Tensor, step: int | Tensor) -> Tensor:
        """Return the learning rates [S] at this step."""
        if not self.config.cosine_decay:
            return rate
        if isinstance(step, Tensor):
            return rate * (0.5 * (1.0 + torch.cos(math.pi * step.double() / self.total_updates)))
        return rate * self.decay(step)

    @abstractmethod
    def folded(self, weights: str = "ema", k: int | None = None) -> FoldedPolicy:
        """Return the policy of every seed, ready for a sampler; weights: `ema` or `online`."""

    def acting_policy(
        self,
        weights: str | None = None,
        k: int | None = None,
        noise_scale: float | None = None,
        act_by: ActBy | None = None,
    ) -> FoldedPolicy:
        """Return the policy that acts, its initial noise scaled; None: as in the settings."""
        chosen = weights or self.acting_weights, k
        flow = self.euler_policy(*chosen) if act_by_of(act_by, self.act_by) == "euler" else None
        policy = flow or self.folded(*chosen)
        if self.setup.observation_mean:
            policy = policy.of_raw(*self.standard)
        return noise_scaled(policy, noise_scale, self.noise_scale)

    @property
    def noise_scale(self) -> float:
        """Factor of the initial noise when the policy acts."""
        return float(getattr(self.config, "noise_scale", 1.0))

    def check_k(self, k: int | None, own: int) -> None:
        """Raise UserError unless k is None or the agent's own number of steps."""
        if k not in (None, own):
            raise UserError(
                f"k = {k} is not available: this agent acts in {own} step{'s' * (own > 1)}, as it "
                "was trained; leave k out."
            )

    def score(self, seed: int | None = None) -> Score | None:
        """Return the score of actions, of one seed or of all; None without a critic."""
        return None

    def raw_score(self, seed: int | None = None) -> Score | None:
        """Return the score of actions at raw observations, as the environment gives them."""
        score = self.score(seed)
        if score is None or not self.setup.observation_mean:
            return score
        mean, scale = self.standard
        return lambda observation, action: score((observation - mean) / scale, action)

    def raw(self, observation: Tensor) -> Tensor:
        """Return observations of the table [..., O] as the environment gives them."""
        if not self.setup.observation_mean:
            return observation
        mean, scale = self.standard
        return observation * scale + mean

    def acting(
        self,
        weights: str | None = None,
        k: int | None = None,
        num_candidates: int | None = None,
        seed: int | None = None,
        precision: str = "fp32",
        noise_scale: float | None = None,
        candidate_rule: Rule | None = None,
        act_by: ActBy | None = None,
    ) -> Acting:
        """Return the policy as it acts: of every seed, or of seed number `seed` only.

        None stands for the agent's own setting. UserError when several candidates are asked for and
        there is no critic to compare them, or no noise that makes them differ.
        """
        scale = self.noise_scale if noise_scale is None else noise_scale
        policy = self.acting_policy(weights, k, scale, act_by)
        policy = policy if seed is None else policy.select(seed)
        check_differ(policy, num_candidates)
        sampler = self.ops.sampler(policy, precision)
        count = num_candidates or int(getattr(self.config, "num_candidates", 1))
        rule = rule_of(count, candidate_rule, getattr(self.config, "candidate_rule", "softmax"))
        if rule is not None:
            score = None if rule == "mean" else self.raw_score(seed)
            sampler = among_candidates(sampler, policy, score, count, rule)
        by = act_by_of(act_by, self.act_by)
        return Acting(sampler, policy.k, count, scale, rule, by)

    def drawn_from(self, table: TransitionTable) -> TransitionTable:
        """Return the table that this agent draws batches from, made before the first of them."""
        return table

    def batch(self, table: TransitionTable, step: int | Tensor) -> Batch:
        """Draw the transitions of an update, [S, B] of them; UserError for another task's table."""
        check_fit(table, self.observation_dim, self.action_dim)
        fields = self.ops.gather(table, self.keys, step, Stream.BATCH, self.config.batch_size)
        return Batch(*(field.to(self.dtype) for field in fields))

    def chain_noise(self, step: int | Tensor, stream: Stream, rows: int, draws: int = 1) -> Tensor:
        """Draw the noise of a folded policy: [S, rows, A], or [S, draws, rows, A]."""
        return draw_noise(
            self.ops.normals, draws, self.keys, step, stream, rows, self.action_dim, self.dtype
        )

    @abstractmethod
    def learners(self) -> dict[str, Learner]:
        """Return the parts that learn, by name."""

    def weights_of(
        self, table: TransitionTable, index: Tensor, draw: int, step: int | None = None
    ) -> Tensor | None:
        """Return the weights w [S, n] of rows `index` [S, n]; None where no row is weighted.

        draw: number of the draw of all noise in them. step: the update whose guidance weighs; None
        for the last one that this object has done.
        """
        return None

    def euler_policy(self, weights: str = "ema", k: int | None = None) -> FoldedPolicy | None:
        """Return the policy's flow by K Euler steps; None where it has no such field."""
        return None

    @property
    def diverged_seeds(self) -> dict[int, int]:
        """The seeds that have diverged, each with the update of it; waits for the device."""
        steps = zip(self.seeds, self.diverged.tolist(), strict=True)
        return {seed: step for seed, step in steps if step >= 0}

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved configuration, as plain values."""
        return asdict(self.config)

    def per_seed(self, values: Sequence[float], name: str) -> Tensor:
        """Return one value a seed [S] from one value for all or one for each."""
        own = self.setup.of_seeds(values, name)
        return torch.tensor(own, dtype=self.dtype, device=self.device)

    def state_dict(self) -> dict[str, Tensor]:
        """Return every tensor that a resumed run needs; with the step it is the whole state."""
        parts = {
            key: value
            for name, part in self.learners().items()
            for key, value in part.state(name).items()
        }
        return parts | {DIVERGED: self.diverged}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Take the tensors of `state_dict`; UserError when a shape or a name does not fit."""
        # Older checkpoints lack it: their runs stopped at the first divergence.
        take(self.state_dict(), {DIVERGED: torch.full_like(self.diverged, -1)} | tensors)
