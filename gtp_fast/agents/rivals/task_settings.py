"""Settings of the rivals on each task, each with its source."""

from __future__ import annotations

from typing import Any, get_args

from gtp_fast.agents.sourced import DEMO, DEMO_CRITIC, OURS_DEMO, Entry, one, rows
from gtp_fast.environments import ogbench_names
from gtp_fast.tasks.task import Family


def _acting(source: str) -> tuple[Entry, ...]:
    """Return the candidates with which these authors evaluate, on every family of tasks.

    They draw so many for every decision, and choose one with probability softmax(Q).
    """
    return tuple(Entry(where, source, {"num_candidates": 50}) for where in get_args(Family))


_OURS_POINTMAZE = "ours: no such task in the paper; AntMaze's rewards, defaults otherwise"
_DEMO_CHAIN = DEMO_CRITIC | {"ema_start": 100, "num_candidates": 1}

_DIFFUSION_QL_SOURCE = "Diffusion-QL's repository, main.py (its AntMaze sets are v0)"
_DIFFUSION_QL = (
    Entry("locomotion", _DIFFUSION_QL_SOURCE, {"updates": 2_000_000, "reward": "none"}),
    Entry("antmaze", _DIFFUSION_QL_SOURCE, {"updates": 1_000_000, "reward": "cql"}),
    *_acting("Diffusion-QL's repository, agents/ql_diffusion.py, sample_action"),
    Entry("pointmaze", _OURS_POINTMAZE, {"reward": "cql"}),
    Entry("pointmaze-demo", OURS_DEMO, _DEMO_CHAIN),
    *rows(
        _DIFFUSION_QL_SOURCE,
        ("learning_rate", "eta", "max_q_backup", "max_gradient_norm"),
        {
            "halfcheetah-medium": (one(3e-4), one(1.0), 0, 9.0),
            "hopper-medium": (one(3e-4), one(1.0), 0, 9.0),
            "walker2d-medium": (one(3e-4), one(1.0), 0, 1.0),
            "halfcheetah-medium-replay": (one(3e-4), one(1.0), 0, 2.0),
            "hopper-medium-replay": (one(3e-4), one(1.0), 0, 4.0),
            "walker2d-medium-replay": (one(3e-4), one(1.0), 0, 4.0),
            "halfcheetah-medium-expert": (one(3e-4), one(1.0), 0, 7.0),
            "hopper-medium-expert": (one(3e-4), one(1.0), 0, 5.0),
            "walker2d-medium-expert": (one(3e-4), one(1.0), 0, 5.0),
            "antmaze-umaze": (one(3e-4), one(0.5), 0, 2.0),
            "antmaze-umaze-diverse": (one(3e-4), one(2.0), 10, 3.0),
            "antmaze-medium-play": (one(1e-3), one(2.0), 10, 2.0),
            "antmaze-medium-diverse": (one(3e-4), one(3.0), 10, 1.0),
            "antmaze-large-play": (one(3e-4), one(4.5), 10, 10.0),
            "antmaze-large-diverse": (one(3e-4), one(3.5), 10, 7.0),
        },
    ),
)

_CONSISTENCY_AC_SOURCE = "Consistency-AC's repository, offline.py (its AntMaze sets are v0)"
_CONSISTENCY_AC = (
    Entry("locomotion", _CONSISTENCY_AC_SOURCE, {"updates": 2_000_000, "reward": "none"}),
    Entry("antmaze", _CONSISTENCY_AC_SOURCE, {"updates": 1_000_000, "reward": "cql"}),
    *_acting("Consistency-AC's repository, agents/ql_consistency.py, sample_action"),
    Entry("pointmaze", _OURS_POINTMAZE, {"reward": "cql"}),
    Entry("pointmaze-demo", OURS_DEMO, _DEMO_CHAIN),
    *rows(
        _CONSISTENCY_AC_SOURCE,
        ("learning_rate", "eta", "k", "scale_target", "max_q_backup", "max_gradient_norm"),
        {
            "halfcheetah-medium": (one(3e-4), one(1.0), 2, False, 0, 9.0),
            "hopper-medium": (one(3e-4), one(0.1), 2, False, 0, 9.0),
            "walker2d-medium": (one(3e-4), one(1.0), 5, True, 0, 1.0),
            "halfcheetah-medium-replay": (one(3e-4), one(1.0), 2, False, 0, 2.0),
            "hopper-medium-replay": (one(3e-4), one(0.1), 2, False, 0, 4.0),
            "walker2d-medium-replay": (one(3e-4), one(0.1), 5, False, 0, 4.0),
            "halfcheetah-medium-expert": (one(3e-4), one(1.0), 2, False, 0, 7.0),
            "hopper-medium-expert": (one(3e-4), one(1.0), 2, False, 0, 5.0),
            "walker2d-medium-expert": (one(3e-4), one(1.0), 2, True, 0, 5.0),
            "antmaze-umaze": (one(3e-4), one(0.01), 2, True, 0, 2.0),
            "antmaze-umaze-diverse": (one(3e-4), one(0.01), 2, True, 10, 3.0),
            "antmaze-medium-play": (one(1e-3), one(0.01), 2, False, 10, 2.0),
            "antmaze-medium-diverse": (one(3e-4), one(0.01), 2, True, 10, 1.0),
            "antmaze-large-play": (one(3e-4), one(4.5), 2, True, 10, 10.0),
            "antmaze-large-diverse": (one(3e-4), one(3.5), 2, True, 10, 2.0),
        },
    ),
)

_IQL_SOURCE = "IQL's repository, configs/mujoco_config.py and configs/antmaze_config.py"
_IQL_MAZE: dict[str, Any] = {"expectile": 0.9, "beta": one(10.0), "reward": "minus_one"}
_IQL = (
    Entry(
        "locomotion",
        _IQL_SOURCE,
        {
            "updates": 1_000_000,
            "expectile": 0.7,
            "beta": one(3.0),
            "reward": "iql_locomotion",
        },
    ),
    Entry("antmaze", _IQL_SOURCE, _IQL_MAZE | {"updates": 1_000_000}),
    Entry("pointmaze", "ours: IQL's settings of AntMaze", _IQL_MAZE),
    Entry("pointmaze-demo", OURS_DEMO, DEMO_CRITIC),
)

_BC = (Entry("pointmaze-demo", OURS_DEMO, DEMO),)

_FQL_SOURCE = "FQL's repository, README.md and agents/fql.py (its AntMaze sets are v2)"
_FQL_GYM = (
    "ours: FQL's authors publish no Gym settings; Q normalised, as their README advises for new "
    "tasks, and alpha in the middle of the range 0.03 to 10 that it names; not tuned"
)
_FQL_MAZE: dict[str, Any] = {"alpha": one(10.0), "reward": "minus_one"}
_FQL_OGBENCH_SOURCE = "FQL's repository, README.md (state-based OGBench, all tasks)"
_FQL_OGBENCH = (
    "ours: not among the sets of FQL's authors; Q normalised, as their README advises for new "
    "tasks, and alpha in the middle of the range 0.03 to 10 that it names; not tuned"
)
_FQL_OGBENCH_ROWS = {
    "antmaze-large-navigate": (0.99, one(10.0), "min", False),
    "antmaze-giant-navigate": (0.995, one(10.0), "min", False),
    "humanoidmaze-medium-navigate": (0.995, one(30.0), "mean", False),
    "humanoidmaze-large-navigate": (0.995, one(30.0), "mean", False),
    "antsoccer-arena-navigate": (0.995, one(10.0), "mean", False),
    "cube-single-play": (0.99, one(300.0), "mean", False),
    "cube-double-play": (0.99, one(300.0), "mean", False),
    "scene-play": (0.99, one(300.0), "mean", False),
    "puzzle-3x3-play": (0.99, one(1000.0), "mean", False),
    "puzzle-4x4-play": (0.99, one(1000.0), "mean", False),
}
_FQL = (
    Entry("ogbench", _FQL_OGBENCH, {"normalise_q": True, "alpha": one(1.0)}),
    *rows(
        _FQL_OGBENCH_SOURCE,
        ("discount", "alpha", "q_aggregate", "normalise_q"),
        {
            f"{group}-singletask{task}-v0": row
            for group, row in _FQL_OGBENCH_ROWS.items()
            for task in ogbench_names.TASKS
        },
    ),
    Entry("locomotion", _FQL_GYM, {"updates": 500_000, "normalise_q": True, "alpha": one(1.0)}),
    Entry("antmaze", _FQL_SOURCE, _FQL_MAZE | {"updates": 500_000}),
    *rows(
        _FQL_SOURCE,
        ("alpha",),
        {"antmaze-large-play": (one(3.0),), "antmaze-large-diverse": (one(3.0),)},
    ),
    Entry("pointmaze", "ours: FQL's settings of AntMaze", _FQL_MAZE),
    Entry("pointmaze-demo", OURS_DEMO, DEMO_CRITIC | {"depth": 3}),
)

_QIPO_SOURCE = (
    "ours, from QGPO: M, rewards, the actor's rate, and phases of about its lengths; beta is the "
    "default of the one public re-implementation; QIPO's own per task are not published"
)
_QIPO_GYM: dict[str, Any] = {
    "beta": one(1.0),
    "support": 16,
    "learning_rate": one(1e-4),
    "reward": "iql_locomotion",
}
_QIPO_MAZE = _QIPO_GYM | {"support": 32, "reward": "minus_one"}
_QIPO = (
    Entry("locomotion", _QIPO_SOURCE, _QIPO_GYM),
    Entry("antmaze", _QIPO_SOURCE, _QIPO_MAZE),
    Entry("pointmaze", "ours: as on AntMaze", _QIPO_MAZE),
    Entry("pointmaze-demo", OURS_DEMO, DEMO_CRITIC | {"support": 8}),
)

_SSCQL_SOURCE = "SSCQL's repository, README.md"
_SSCQL_MAZE = "ours: SSCQL's authors publish no maze settings; alpha2 in the middle of theirs"
_SSCQL = (
    Entry("locomotion", _SSCQL_SOURCE, {"updates": 500_000, "reward": "none"}),
    Entry("antmaze", _SSCQL_MAZE, {"alpha_completion": one(0.2), "updates": 500_000}),
    Entry("pointmaze", _SSCQL_MAZE, {"alpha_completion": one(0.2)}),
    Entry(
        "pointmaze-demo",
        OURS_DEMO,
        DEMO_CRITIC | {"depth": 3, "batch_size": 256, "ema_rate": 0.005},
    ),
    *rows(
        _SSCQL_SOURCE,
        ("alpha_completion",),
        {
            "halfcheetah-medium": (one(0.20),),
            "halfcheetah-medium-replay": (one(0.05),),
            "halfcheetah-medium-expert": (one(0.10),),
            "hopper-medium": (one(0.05),),
            "hopper-medium-replay": (one(0.10),),
            "hopper-medium-expert": (one(0.75),),
            "walker2d-medium": (one(0.50),),
            "walker2d-medium-replay": (one(0.10),),
            "walker2d-medium-expert": (one(0.10),),
        },
    ),
)

TABLE: dict[str, tuple[Entry, ...]] = {
    "bc": _BC,
    "consistency-ac": _CONSISTENCY_AC,
    "diffusion-ql": _DIFFUSION_QL,
    "fql": _FQL,
    "iql": _IQL,
    "qipo-diff": _QIPO,
    "qipo-ot": _QIPO,
    "sscql": _SSCQL,
}
"""Entries of each rival, by the name of the agent."""
