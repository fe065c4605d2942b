"""One table: agent x task -> settings, each with its source.

What stands here are the defaults of `--agent A --task T`. A source that begins with "ours" says
that no value is published for that pair, and how ours was chosen. What the table leaves out is the
default of the agent's Config.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from gtp_fast.tasks import Task


class Sourced(NamedTuple):
    """A value and where it comes from."""

    value: Any
    source: str


@dataclass(frozen=True)
class Entry:
    """Settings of one agent on one task, or on every task of a family, from one source.

    Besides settings of the agent: `updates` (length of a run) and `reward` (the rule for rewards).
    """

    where: str
    """Name of a task, or of a family."""
    source: str
    settings: Mapping[str, Any]


def _rows(
    source: str, names: tuple[str, ...], rows: Mapping[str, tuple[Any, ...]]
) -> tuple[Entry, ...]:
    """Return one entry for each row of a published table."""
    return tuple(
        Entry(task, source, dict(zip(names, row, strict=True))) for task, row in rows.items()
    )


def _one(value: float) -> tuple[float, ...]:
    return (value,)


# What both authors draw for every decision, one of them chosen with probability softmax(Q).
_CANDIDATES: dict[str, Any] = {"num_candidates": 50}


def _acting(source: str) -> tuple[Entry, ...]:
    """Return the candidates with which these authors evaluate, on both families of the paper."""
    return tuple(Entry(where, source, _CANDIDATES) for where in ("locomotion", "antmaze"))


_OURS_POINTMAZE = (
    "ours: no such task in the paper; AntMaze's rewards and candidates, defaults otherwise"
)
_OURS_DEMO = "ours: a small network and large rates, so that the demo takes minutes; not tuned"
_DEMO: dict[str, Any] = {
    "width": 64,
    "learning_rate": _one(1e-3),
    "cosine_decay": True,
}
_DEMO_CRITIC = _DEMO | {"critic_learning_rate": _one(1e-3), "critic_ema_rate": 0.02}
_DEMO_CHAIN = _DEMO_CRITIC | {"ema_start": 100, "num_candidates": 1}

_GTP = (
    Entry(
        "pointmaze-demo",
        "ours: tried on the demo's data",
        _DEMO_CRITIC
        | {"eta": _one(2.0), "k": 2, "t_max": 20.0, "last_nodes": 40, "value_samples": 2}
        | {"advantage_start": 0, "trajectory_eta": 0.0, "t_law": "uniform", "noise_scale": 1.0},
    ),
)

SHORT = 1_000_000
"""Updates below which a run of GTP counts as short."""
_OURS_BUDGET = "ours, by the length of the run: docs/guidance.md"
_GTP_ANY_LENGTH = {"t_law": "lognormal", "trajectory_eta": 3.0, "noise_scale": 0.25}
_GTP_SHORT = {"learning_rate": _one(1e-3), "cosine_decay": True, "advantage_start": None}
_GTP_LONG = {"advantage_start": 100_000}
_GTP_PAPER = {"weight_maximum": Sourced(None, "the paper: no clamp in eq. 14")}
Preset = Literal["auto", "paper"]

_DIFFUSION_QL_SOURCE = "Diffusion-QL's repository, main.py (its AntMaze sets are v0)"
_DIFFUSION_QL = (
    Entry("locomotion", _DIFFUSION_QL_SOURCE, {"updates": 2_000_000, "reward": "none"}),
    Entry("antmaze", _DIFFUSION_QL_SOURCE, {"updates": 1_000_000, "reward": "cql"}),
    *_acting("Diffusion-QL's repository, agents/ql_diffusion.py, sample_action"),
    Entry("pointmaze", _OURS_POINTMAZE, {"reward": "cql"} | _CANDIDATES),
    Entry("pointmaze-demo", _OURS_DEMO, _DEMO_CHAIN),
    *_rows(
        _DIFFUSION_QL_SOURCE,
        ("learning_rate", "eta", "max_q_backup", "max_gradient_norm"),
        {
            "halfcheetah-medium": (_one(3e-4), _one(1.0), 0, 9.0),
            "hopper-medium": (_one(3e-4), _one(1.0), 0, 9.0),
            "walker2d-medium": (_one(3e-4), _one(1.0), 0, 1.0),
            "halfcheetah-medium-replay": (_one(3e-4), _one(1.0), 0, 2.0),
            "hopper-medium-replay": (_one(3e-4), _one(1.0), 0, 4.0),
            "walker2d-medium-replay": (_one(3e-4), _one(1.0), 0, 4.0),
            "halfcheetah-medium-expert": (_one(3e-4), _one(1.0), 0, 7.0),
            "hopper-medium-expert": (_one(3e-4), _one(1.0), 0, 5.0),
            "walker2d-medium-expert": (_one(3e-4), _one(1.0), 0, 5.0),
            "antmaze-umaze": (_one(3e-4), _one(0.5), 0, 2.0),
            "antmaze-umaze-diverse": (_one(3e-4), _one(2.0), 10, 3.0),
            "antmaze-medium-play": (_one(1e-3), _one(2.0), 10, 2.0),
            "antmaze-medium-diverse": (_one(3e-4), _one(3.0), 10, 1.0),
            "antmaze-large-play": (_one(3e-4), _one(4.5), 10, 10.0),
            "antmaze-large-diverse": (_one(3e-4), _one(3.5), 10, 7.0),
        },
    ),
)

_CONSISTENCY_AC_SOURCE = "Consistency-AC's repository, offline.py (its AntMaze sets are v0)"
_CONSISTENCY_AC = (
    Entry("locomotion", _CONSISTENCY_AC_SOURCE, {"updates": 2_000_000, "reward": "none"}),
    Entry("antmaze", _CONSISTENCY_AC_SOURCE, {"updates": 1_000_000, "reward": "cql"}),
    *_acting("Consistency-AC's repository, agents/ql_consistency.py, sample_action"),
    Entry("pointmaze", _OURS_POINTMAZE, {"reward": "cql"} | _CANDIDATES),
    Entry("pointmaze-demo", _OURS_DEMO, _DEMO_CHAIN),
    *_rows(
        _CONSISTENCY_AC_SOURCE,
        ("learning_rate", "eta", "k", "scale_target", "max_q_backup", "max_gradient_norm"),
        {
            "halfcheetah-medium": (_one(3e-4), _one(1.0), 2, False, 0, 9.0),
            "hopper-medium": (_one(3e-4), _one(0.1), 2, False, 0, 9.0),
            "walker2d-medium": (_one(3e-4), _one(1.0), 5, True, 0, 1.0),
            "halfcheetah-medium-replay": (_one(3e-4), _one(1.0), 2, False, 0, 2.0),
            "hopper-medium-replay": (_one(3e-4), _one(0.1), 2, False, 0, 4.0),
            "walker2d-medium-replay": (_one(3e-4), _one(0.1), 5, False, 0, 4.0),
            "halfcheetah-medium-expert": (_one(3e-4), _one(1.0), 2, False, 0, 7.0),
            "hopper-medium-expert": (_one(3e-4), _one(1.0), 2, False, 0, 5.0),
            "walker2d-medium-expert": (_one(3e-4), _one(1.0), 2, True, 0, 5.0),
            "antmaze-umaze": (_one(3e-4), _one(0.01), 2, True, 0, 2.0),
            "antmaze-umaze-diverse": (_one(3e-4), _one(0.01), 2, True, 10, 3.0),
            "antmaze-medium-play": (_one(1e-3), _one(0.01), 2, False, 10, 2.0),
            "antmaze-medium-diverse": (_one(3e-4), _one(0.01), 2, True, 10, 1.0),
            "antmaze-large-play": (_one(3e-4), _one(4.5), 2, True, 10, 10.0),
            "antmaze-large-diverse": (_one(3e-4), _one(3.5), 2, True, 10, 2.0),
        },
    ),
)

_IQL_SOURCE = "IQL's repository, configs/mujoco_config.py and configs/antmaze_config.py"
_IQL_MAZE: dict[str, Any] = {"expectile": 0.9, "beta": _one(10.0), "reward": "minus_one"}
_IQL = (
    Entry(
        "locomotion",
        _IQL_SOURCE,
        {
            "updates": 1_000_000,
            "expectile": 0.7,
            "beta": _one(3.0),
            "reward": "iql_locomotion",
        },
    ),
    Entry("antmaze", _IQL_SOURCE, _IQL_MAZE | {"updates": 1_000_000}),
    Entry("pointmaze", "ours: IQL's settings of AntMaze", _IQL_MAZE),
    Entry("pointmaze-demo", _OURS_DEMO, _DEMO_CRITIC),
)

_BC = (Entry("pointmaze-demo", _OURS_DEMO, _DEMO),)

_FQL_SOURCE = "FQL's repository, README.md and agents/fql.py (its AntMaze sets are v2)"
_FQL_GYM = (
    "ours: FQL's authors publish no Gym settings; Q normalised, as their README advises for new "
    "tasks, and alpha in the middle of the range 0.03 to 10 that it names; not tuned"
)
_FQL_MAZE: dict[str, Any] = {"alpha": _one(10.0), "reward": "minus_one"}
_FQL = (
    Entry("locomotion", _FQL_GYM, {"updates": 500_000, "normalise_q": True, "alpha": _one(1.0)}),
    Entry("antmaze", _FQL_SOURCE, _FQL_MAZE | {"updates": 500_000}),
    *_rows(
        _FQL_SOURCE,
        ("alpha",),
        {"antmaze-large-play": (_one(3.0),), "antmaze-large-diverse": (_one(3.0),)},
    ),
    Entry("pointmaze", "ours: FQL's settings of AntMaze", _FQL_MAZE),
    Entry("pointmaze-demo", _OURS_DEMO, _DEMO_CRITIC | {"depth": 3}),
)

_QIPO_SOURCE = (
    "ours, from QGPO: M, rewards, the actor's rate, and phases of about its lengths; beta is the "
    "default of the one public re-implementation; QIPO's own per task are not published"
)
_QIPO_GYM: dict[str, Any] = {
    "beta": _one(1.0),
    "support": 16,
    "learning_rate": _one(1e-4),
    "reward": "iql_locomotion",
}
_QIPO_MAZE = _QIPO_GYM | {"support": 32, "reward": "minus_one"}
_QIPO = (
    Entry("locomotion", _QIPO_SOURCE, _QIPO_GYM),
    Entry("antmaze", _QIPO_SOURCE, _QIPO_MAZE),
    Entry("pointmaze", "ours: as on AntMaze", _QIPO_MAZE),
    Entry("pointmaze-demo", _OURS_DEMO, _DEMO_CRITIC | {"support": 8}),
)

_SSCQL_SOURCE = "SSCQL's repository, README.md"
_SSCQL_MAZE = "ours: SSCQL's authors publish no maze settings; alpha2 in the middle of theirs"
_SSCQL = (
    Entry("locomotion", _SSCQL_SOURCE, {"updates": 500_000, "reward": "none"}),
    Entry("antmaze", _SSCQL_MAZE, {"alpha_completion": _one(0.2), "updates": 500_000}),
    Entry("pointmaze", _SSCQL_MAZE, {"alpha_completion": _one(0.2)}),
    Entry(
        "pointmaze-demo",
        _OURS_DEMO,
        _DEMO_CRITIC | {"depth": 3, "batch_size": 256, "ema_rate": 0.005},
    ),
    *_rows(
        _SSCQL_SOURCE,
        ("alpha_completion",),
        {
            "halfcheetah-medium": (_one(0.20),),
            "halfcheetah-medium-replay": (_one(0.05),),
            "halfcheetah-medium-expert": (_one(0.10),),
            "hopper-medium": (_one(0.05),),
            "hopper-medium-replay": (_one(0.10),),
            "hopper-medium-expert": (_one(0.75),),
            "walker2d-medium": (_one(0.50),),
            "walker2d-medium-replay": (_one(0.10),),
            "walker2d-medium-expert": (_one(0.10),),
        },
    ),
)

TABLE: dict[str, tuple[Entry, ...]] = {
    "bc": _BC,
    "consistency-ac": _CONSISTENCY_AC,
    "diffusion-ql": _DIFFUSION_QL,
    "fql": _FQL,
    "gtp": _GTP,
    "iql": _IQL,
    "qipo-diff": _QIPO,
    "qipo-ot": _QIPO,
    "sscql": _SSCQL,
}


def of(
    agent: str, task: Task, steps: int | None = None, preset: Preset = "auto"
) -> dict[str, Sourced]:
    """Return the settings that the table has for an agent on a task.

    A task's own row comes before its family's, and both before the row of a run's length.

    preset: `paper` for GTP as its paper has it, `auto` for what has won here.
    """
    found = _budget(steps or task.updates, preset) if agent == "gtp" else {}
    for where in (task.family, task.name):
        for entry in TABLE.get(agent, ()):
            if entry.where == where:
                found |= {
                    name: Sourced(value, entry.source) for name, value in entry.settings.items()
                }
    return found


def _budget(steps: int, preset: Preset) -> dict[str, Sourced]:
    if preset == "paper":
        return dict(_GTP_PAPER)
    chosen = _GTP_ANY_LENGTH | (_GTP_SHORT if steps < SHORT else _GTP_LONG)
    return {name: Sourced(value, _OURS_BUDGET) for name, value in chosen.items()}


def for_agent(task: Task, agent: str, steps: int | None = None, preset: Preset = "auto") -> Task:
    """Return the task as an agent's authors train on it: its settings, reward rule and updates."""
    found = {name: sourced.value for name, sourced in of(agent, task, steps, preset).items()}
    updates = found.pop("updates", task.updates)
    rules = replace(task.rules, reward=found.pop("reward", task.rules.reward))
    return replace(task, settings=found, rules=rules, updates=updates)
