"""Run folders made in milliseconds: a tiny untrained GTP, and made-up scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gtp_fast import agents
from gtp_fast.agents.base import Agent
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.runs import Run, checkpoint
from gtp_fast.runs.evaluations import EvaluationLog

OBSERVATION = np.array([0.3, -0.7, 1.9], np.float32)
BATCH = np.stack([OBSERVATION, 2 * OBSERVATION, -OBSERVATION])
SETTINGS = {"eta": [1.0], "k": 3, "width": 16, "depth": 2}


def config(**changes: Any) -> dict[str, Any]:
    """Return the configuration of a run on the fake environment's observations."""
    return {
        "task": "pointmaze-umaze",
        "agent": "gtp",
        "dataset": "some/set-v0",
        "seeds": [4, 7],
        "steps": 100,
        "episodes": 3,
        "agent_settings": SETTINGS,
        "observation_keys": ["state", "goal"],
        "observation_dim": 3,
        "action_dim": 2,
        "action_low": [-2.0, -2.0],
        "action_high": [4.0, 4.0],
        "evaluation": {},
    } | changes


def agent_of(settings: dict[str, Any]) -> Agent:
    """Return the agent of a configuration, its averaged weights set apart from its online ones."""
    shape = (settings["observation_dim"], settings["action_dim"], settings["seeds"])
    agent = agents.build(settings["agent"], settings["agent_settings"], *shape)
    tensors = agent.state_dict()
    generator = torch.Generator().manual_seed(0)
    for name in ("actor.online", "actor.average"):
        tensors[name] = 0.3 * torch.randn(tensors[name].shape, generator=generator)
    agent.load_state_dict(tensors)
    return agent


def make_run(folder: Path, step: int = 60, **changes: Any) -> Run:
    """Make a run folder with one checkpoint."""
    run = Run(folder)
    run.checkpoints.mkdir(parents=True)
    run.write_config(config(**changes))
    checkpoint.save(run, step, agent_of(run.config()).state_dict(), {"note": "made up"})
    return run


def empty_run(folder: Path) -> Run:
    """Make a run folder without a checkpoint."""
    run = Run(folder)
    run.checkpoints.mkdir(parents=True)
    run.write_config(config())
    return run


def add_scores(run: Run, step: int, returns: list[list[float]], seeds: list[int]) -> None:
    """Append an evaluation with given returns [S, N], each positive one a success."""
    figures = np.array(returns)
    evaluation = Evaluation(
        tuple(seeds),
        figures,
        np.full(figures.shape, 9),
        (figures > 0).astype(float),
        np.arange(figures.shape[1]),
    )
    EvaluationLog(run.evaluations, step).append(step, evaluation)


def scored_run(folder: Path, returns: dict[int, list[list[float]]], **changes: object) -> Run:
    """Make a run folder with evaluations: step -> returns [S, N]."""
    folder.mkdir()
    run = Run(folder)
    run.write_config(config(**changes))
    for step, figures in returns.items():
        add_scores(run, step, figures, run.config()["seeds"])
    return run
