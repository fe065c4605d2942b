"""What every agent shares: its state, its optimiser step, its checkpoint, its health."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from gtp_fast import networks, ops, random
from gtp_fast.errors import UserError
from gtp_fast.random import Stream
from gtp_fast.reference import FoldedPolicy

if TYPE_CHECKING:
    from gtp_fast.data.table import TransitionTable


class Learner:
    """Parameters with their Adam moments and, if wanted, their moving average."""

    def __init__(self, parameters: networks.Parameters, seeds: int):
        self.parameters = parameters
        self.seeds = seeds
        self.average = parameters.frozen_copy()
        self.first = torch.zeros_like(parameters.flat)
        self.second = torch.zeros_like(parameters.flat)

    @property
    def views(self) -> dict[str, Tensor]:
        """The parameters that learn."""
        return self.parameters.views

    @property
    def average_views(self) -> dict[str, Tensor]:
        """Their moving average, out of reach of any gradient."""
        return self.average.views

    def update(
        self, loss: Tensor, updates: int, rate: Tensor, ema_rate: float, max_norm: float | None
    ) -> Tensor:
        """Take one Adam step on loss [S] and move the average; return the gradient norm of each
        seed [S].

        updates counts from 1; rate: [S]. The seeds' losses are summed, which keeps their gradients
        apart.
        """
        gradient, flat = self.parameters.gradient, self.parameters.flat
        self.parameters.differentiate(loss.sum())
        per_seed = gradient.view(self.seeds, -1)
        norm: Tensor = torch.linalg.vector_norm(per_seed, dim=1)
        if max_norm is not None:
            per_seed.mul_(torch.clamp(max_norm / (norm + 1e-6), max=1.0)[:, None])
        ops.adam_polyak_(
            flat.view(self.seeds, -1),
            per_seed,
            self.first.view(self.seeds, -1),
            self.second.view(self.seeds, -1),
            self.average.flat.view(self.seeds, -1),
            updates,
            rate[:, None],
            ema_rate,
        )
        return norm

    def state(self, name: str) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint keeps, each [S, P]."""
        tensors = {
            "online": self.parameters.flat,
            "average": self.average.flat,
            "adam_first": self.first,
            "adam_second": self.second,
        }
        return {f"{name}.{key}": value.view(self.seeds, -1) for key, value in tensors.items()}


class Agent(ABC):
    """One algorithm: `update` is a function of the table and the step; it logs nothing and waits
    for nothing.
    """

    Config: ClassVar[type]
    metric_names: ClassVar[tuple[str, ...]]
    loss_names: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        config: Any,
        observation_dim: int,
        action_dim: int,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
    ):
        self.config = config
        self.observation_dim, self.action_dim = observation_dim, action_dim
        self.seeds = tuple(seeds)
        self.device, self.dtype = torch.device(device), dtype
        self.keys = random.key_tensor(self.seeds, self.device)
        self.ops = ops.resolve(backend, self.device, dtype)

    @abstractmethod
    def update(self, table: TransitionTable, step: int) -> Tensor:
        """Do update number `step` (from 0) in place; return the metrics [len(metric_names), S] on
        the device.
        """

    @abstractmethod
    def prepare(self, total_updates: int) -> None:
        """Learn how long the run is, before its first update."""

    @abstractmethod
    def folded(self, weights: str = "ema", k: int | None = None) -> FoldedPolicy:
        """Return the policy of every seed, ready for a sampler; weights: `ema` or `online`."""

    @abstractmethod
    def learners(self) -> dict[str, Learner]:
        """Return the parts that learn, by name."""

    def action_spread(self, table: TransitionTable, rows: int = 256) -> dict[str, list[float]]:
        """Return the standard deviation of actions at one state, by one jump and by all K steps,
        per seed.
        """
        state = (
            table.rows[0, : self.observation_dim].to(self.dtype).expand(len(self.seeds), rows, -1)
        )
        noise = self.ops.normals(self.keys, 0, Stream.ACT, rows, self.action_dim, self.dtype)
        spread = {}
        for name, k in (("one_jump", 1), ("k_steps", None)):
            actions = self.ops.sampler(self.folded(k=k)).sample(state, noise)
            spread[name] = actions.std(1).mean(-1).tolist()
        return spread

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved configuration, as plain values."""
        return asdict(self.config)

    def per_seed(self, values: Sequence[float], name: str) -> Tensor:
        """Return one value a seed [S] from one value for all or one for each."""
        if len(values) not in (1, len(self.seeds)):
            raise UserError(
                f"--{name} has {len(values)} values for {len(self.seeds)} seeds: give one for "
                "all, or one for each."
            )
        return (
            torch.tensor(tuple(values), dtype=self.dtype, device=self.device)
            .expand(len(self.seeds))
            .contiguous()
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return every tensor that a resumed run needs; with the step it is the whole state."""
        return {
            key: value
            for name, part in self.learners().items()
            for key, value in part.state(name).items()
        }

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Take the tensors of `state_dict`; UserError when a shape or a name does not fit."""
        own = self.state_dict()
        for name in sorted(own.keys() | tensors.keys()):
            if name not in own or name not in tensors:
                side = "lacks" if name in own else "has an unknown"
                raise UserError(
                    f"The checkpoint {side} tensor {name!r}: it belongs to another agent or "
                    "version."
                )
            if own[name].shape != tensors[name].shape:
                raise UserError(
                    f"The checkpoint's {name!r} is {list(tensors[name].shape)} and this run's is "
                    f"{list(own[name].shape)}: start it with the width, depth, seeds and dataset "
                    "it was saved with."
                )
        for name, value in own.items():
            value.copy_(tensors[name])
