"""A task: what a run trains on and how it is judged, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Family = Literal["locomotion", "antmaze", "pointmaze", "ogbench", "other"]
GoalRule = Literal["none", "concat", "relabel"]
RewardRule = Literal["none", "minus_one", "cql", "quarter", "iql_locomotion", "normalize"]
Terminals = Literal["auto", "terminal_state", "trajectory_end"]
Cell = tuple[int, int]
TRY = 1_000
"""Updates below which a run is a try: it is over in a minute, its evaluation is short."""
_TRY_EPISODES = 10


@dataclass(frozen=True)
class Rules:
    """How stored episodes become transitions; every rule is a named option."""

    goal: GoalRule = "none"
    """none: rewards and terminals as stored. concat: the episode's own goal is part of the state.
    relabel: rewards and terminals follow one fixed evaluation goal outside the state."""
    cut_at_goal: bool = False
    """The first success becomes terminal and the rest of the episode is left out."""
    reward: RewardRule = "none"
    """none: r. minus_one: r - 1 (IQL, FQL). cql: 4 (r - 0.5). quarter: 2 (r - 0.25).
    iql_locomotion: 1000 r / (largest - smallest return). normalize: (r - mean) / std."""
    success_radius: float = 0.45
    """Metres between achieved and desired goal that count as success; 0.45 in Gymnasium."""
    evaluation_goal: tuple[float, float] | None = None
    """x and y in metres for goal=relabel; None takes the centre of the task's goal cell."""
    clip_actions: bool = False
    """Move actions outside the action box onto it instead of refusing the dataset."""
    action_low: tuple[float, ...] | None = None
    """Lower end of the action box, one number for all or one for each; by default the dataset's
    own, else the environment's."""
    action_high: tuple[float, ...] | None = None
    """Upper end of the action box, likewise."""
    terminals: Terminals = "auto"
    """What the terminals of a flat file mark: terminal_state (D4RL) or trajectory_end (OGBench);
    auto: trajectory_end where the file has masks."""


@dataclass(frozen=True)
class Task:
    """Facts of one task for training and evaluation, with their sources.

    The defaults are those of a dataset without a preset.
    """

    name: str
    family: Family = "other"
    environment: str | None = None
    """Gymnasium id, for collecting and for flat files that carry no environment of their own."""
    datasets: tuple[tuple[str, ...], ...] = ()
    """Alternatives in order of preference; each is the Minari ids to be concatenated."""
    observation_keys: tuple[str, ...] | None = None
    """Keys of a dict observation in the order of the state; empty for flat observations, None for
    all that the dataset has, in its order.
    """
    rules: Rules = field(default_factory=Rules)
    reference: tuple[float, float] | None = None
    """Returns that count as score 0 and 100; None where the dataset has none."""
    reference_source: str = "no reference returns: the figures are returns"
    evaluation_episodes: int = 10
    max_episode_steps: int | None = None
    discount: float = 0.99
    start: Cell | None = None
    """Row and column of the maze cell where evaluation starts."""
    goal: Cell | None = None
    """Row and column of the maze cell that holds the evaluation goal."""
    updates: int = 200_000
    """Length of a run by default: Diffusion-QL's for Gym and antmaze, our choice elsewhere."""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Settings of the agent that differ from its defaults here; see agents/task_settings.py."""

    @property
    def goal_reaching(self) -> bool:
        """Whether the task's figure of merit is the success rate."""
        return self.family in ("antmaze", "pointmaze")

    @property
    def local_dataset(self) -> str:
        """Minari id under which `python -m gtp_fast.collect` writes a locally made dataset."""
        return f"local/{self.family}/{self.name.removeprefix(self.family + '-')}-v0"

    def episodes(self, steps: int) -> int:
        """Return the episodes of an evaluation by default: the protocol's, 10 at most in a try."""
        most = self.evaluation_episodes
        return min(most, _TRY_EPISODES) if steps < TRY else most

    @property
    def is_preset(self) -> bool:
        """Whether the task has rules, references and settings of its own."""
        return self.family != "other"

    def facts(self) -> dict[str, Any]:
        """Return the task as plain values without its settings, for a run folder."""
        return {name: value for name, value in asdict(self).items() if name != "settings"}

    def without_reference(self, environment: str) -> Task:
        """Return the task without reference returns, which another environment has not."""
        if self.reference is None:
            return self
        source = f"no reference returns: those of {self.name} do not belong to {environment}"
        return replace(self, reference=None, reference_source=source)

    def score(self, returns: ArrayLike) -> NDArray[np.float64]:
        """Return the normalised scores of undiscounted returns of any shape."""
        return normalise(returns, self.reference)


def normalise(returns: ArrayLike, reference: tuple[float, float] | None) -> NDArray[np.float64]:
    """Return 100 (R - min) / (max - min), of any shape; nan without a reference."""
    values = np.asarray(returns, np.float64)
    if reference is None:
        return np.full_like(values, np.nan)
    low, high = reference
    return 100.0 * (values - low) / (high - low)


def from_facts(facts: Mapping[str, Any]) -> Task:
    """Return the task of `Task.facts`, read back from a run folder."""
    known = {field.name for field in fields(Task)}
    kept = {name: _tupled(value) for name, value in facts.items() if name in known}
    return Task(**kept | {"rules": Rules(**_known_rules(facts["rules"]))})


def _known_rules(kept: Mapping[str, Any]) -> dict[str, Any]:
    known = {field.name for field in fields(Rules)}
    return {name: _tupled(value) for name, value in kept.items() if name in known}


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value
