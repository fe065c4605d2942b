"""The beginning of Triton's update: its batch, the policy that is sampled, embedded times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gtp_fast.ops import gather
from gtp_fast.ops.sampler import NativeSampler
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.agents.gtp.state import GTPState
    from gtp_fast.data.table import TransitionTable

_STREAMS = (Stream.BATCH, Stream.TARGET, Stream.VALUE, Stream.TIME, Stream.NOISE)


class Beginning:
    """Draws the batch of an update and lays out the policy that its sampler reads.

    repeats: how many actions are sampled at each s' and at each s. `flat`, `scale` and `units`: the
    policy, for `NativeSampler.take`.
    """

    def __init__(self, state: GTPState, repeats: tuple[int, int]):
        assert isinstance(state.chain, NativeSampler)
        self.state, self.repeats = state, repeats
        self.embedding = state.network.shapes()["t.0.weight"]
        policy = state.folded("ema")
        self.levels, self.scale = state.step_levels(), policy.initial_scale
        # A folded policy ends with the coefficients of its steps, which are constant.
        schedule = torch.cat(policy.schedule)
        self.padded, count = state.chain.padded()
        self.flat = torch.zeros(count, dtype=torch.float32, device=state.device)
        self.flat[-len(schedule) :] = schedule
        # Clones sample nothing in an update.
        reads = state.chain.takes_units and not state.clones
        packs = state.setup.launches.fold_packs and reads
        self.units = self._units() if packs else None

    def _units(self) -> Tensor | None:
        """Return zeros for the weights as tensor cores read them; None where none do."""
        from gtp_fast.kernels import folded

        state, c = self.state, self.state.config
        kind = {"bf16": torch.bfloat16, "tf32": torch.float32}.get(state.ops.precision)
        if kind is None:
            return None
        sizes = (state.observation_dim, state.action_dim, c.width, c.depth)
        count = folded.units_of(len(state.seeds), sizes, kind).count
        return torch.zeros(count, dtype=kind, device=state.device)

    def __call__(self, table: TransitionTable, step: int | Tensor) -> tuple[Any, Any]:
        """Return the batch and the embedded times of students and teacher.

        UserError for a table of another task.
        """
        from gtp_fast.kernels import batch, begin, fold

        state, c = self.state, self.state.config
        gather.check_fit(table, state.observation_dim, state.action_dim)
        dims = state.observation_dim, state.action_dim
        of_batch = (
            table.rows, (*dims, c.batch_size), self.repeats, state.nodes, state.node_count,
            state.keys, step, _STREAMS,
        )  # fmt: skip
        laws = {
            "lots": table.lots, "u_mode": c.u_mode, "cdf": state.cdf, "kind": c.precondition,
            "sigma_data": c.sigma_data, "t_min": c.t_min,
            "consistency_weight": c.consistency_weight,
        }  # fmt: skip
        of_fold = (
            state.actor.parameters.flat, state.actor.average.flat, (*dims, c.width, c.depth),
            self.embedding, self.levels, self.flat, self.padded,
        )  # fmt: skip
        if state.setup.launches.begins_at_once:
            drawn, embedded = begin.begin((of_batch, laws), of_fold, self.units)
            return drawn, embedded
        drawn = batch.draw_batch(*of_batch, **laws)
        times = drawn.perturbed.student_levels, drawn.perturbed.teacher_levels
        return drawn, fold.fold(*of_fold, *times, self.units)
