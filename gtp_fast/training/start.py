"""From the options of a run to its Trainer: data, agent, evaluation environment, run folder."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from gtp_fast import agents, data, engine, runs, tasks
from gtp_fast.agents import task_settings
from gtp_fast.agents.base import Agent
from gtp_fast.evaluation.vector import make
from gtp_fast.policy.restore import restore
from gtp_fast.system.device import chosen_device
from gtp_fast.training.config import RunConfig
from gtp_fast.training.trainer import Trainer


def start(run_config: RunConfig, task: tasks.Task, rules: tasks.Rules, settings: Any) -> Trainer:
    """Load the data, build the agent and make the folder of a new run."""
    device = chosen_device(run_config.device)
    chosen = _engine(run_config, device, len(run_config.seeds))
    dataset = (
        collected(task, run_config.collect)
        if run_config.collect is not None
        else run_config.dataset
    )
    # The loader adapts the task's own rules to what a flat file lacks.
    table = data.load_table(task, dataset, rules if rules != task.rules else None, device)
    steps = run_config.steps or task.updates
    agent = agents.build(
        run_config.agent,
        settings,
        table.observation_dim,
        table.action_dim,
        run_config.seeds,
        device,
        chosen.backend,
        run_config.precision,
    )
    # Refuse candidates without a critic before the training instead of after it.
    agent.acting()
    environment = evaluation_environment(table, run_config.trust_environment)
    run = runs.create(run_config.output, task.name, run_config.agent)
    run.write_config(describe(run_config, task, dataset, table, agent, steps, environment))
    run.write_environment(agent.ops.describe())
    return Trainer(run, agent, table, run_config, chosen, start=0)


def resume(run_config: RunConfig) -> Trainer:
    """Continue a run from its last checkpoint, to the same bits."""
    run = runs.open_run(str(run_config.resume))
    saved = run.config()
    device = chosen_device(run_config.device)
    chosen = _engine(run_config, device, len(saved["seeds"]))
    task = tasks.find(saved["task"])
    rules = tasks.Rules(**agents.settings_of(saved["rules"]))
    table = data.load_table(task, saved["dataset"], rules, device)
    # Older runs lack the setting: they had full precision.
    precision = saved.get("precision", "fp32")
    agent, last = restore(run, device=device, backend=chosen.backend, precision=precision)
    return Trainer(run, agent, table, run_config, chosen, start=last.step)


def describe(
    run_config: RunConfig,
    task: tasks.Task,
    dataset: str | None,
    table: data.TransitionTable,
    agent: Agent,
    steps: int,
    environment: str | None,
) -> dict[str, Any]:
    """Return the configuration to repeat, resume, evaluate and deploy a run."""
    return {
        "task": task.name,
        "agent": run_config.agent,
        "dataset": dataset or table.dataset_id,
        "dataset_id": table.dataset_id,
        "seeds": list(run_config.seeds),
        "steps": steps,
        "engine": run_config.engine,
        "backend": run_config.backend,
        "precision": run_config.precision,
        "preset": run_config.preset,
        "agent_settings": agent.settings,
        "setting_sources": {
            name: sourced.source
            for name, sourced in task_settings.of(
                run_config.agent, task, steps, run_config.preset
            ).items()
        },
        "rules": dataclasses.asdict(table.rules),
        "observation_keys": list(table.observation_keys),
        "observation_dim": table.observation_dim,
        "action_dim": table.action_dim,
        "action_low": list(table.action_low),
        "action_high": list(table.action_high),
        "evaluate_every": run_config.evaluate_every,
        "episodes": run_config.episodes or task.evaluation_episodes,
        "checkpoint_every": run_config.checkpoint_every,
        "log_every": run_config.log_every,
        "evaluation": {"environment": environment},
    }


def evaluation_environment(table: data.TransitionTable, trusted: bool) -> str | None:
    """Return the evaluation environment in JSON, or None where the data bring none.

    UserError when the data do not fit it.
    """
    spec = data.evaluation_spec(table, trust_environment=trusted)
    if spec is None:
        return None
    environment = make(spec)
    try:
        data.fits_environment(table, environment)
    finally:
        environment.close()
    return spec.to_json()


def collected(task: tasks.Task, transitions: int | None) -> str:
    """Collect the dataset of a task locally, or reuse it; return its folder."""
    from gtp_fast import collect

    made = collect.collect(task, transitions, workers=collect.default_workers(task))
    done = "was collected here earlier" if made.reused else "has been collected here"
    print(f"{made.dataset_id} {done}: locally made data, not Minari's")
    return str(made.path)


def _engine(run_config: RunConfig, device: torch.device, seeds: int) -> engine.Choice:
    return engine.choose(run_config.engine, run_config.backend, device, seeds, run_config.processes)
