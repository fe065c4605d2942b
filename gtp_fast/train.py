"""python -m gtp_fast.train: load a dataset, train an agent on it, evaluate it, keep everything in a
run folder.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import torch

from gtp_fast import agents, cli, data, engine, runs, tasks
from gtp_fast.agents import task_settings
from gtp_fast.agents.base import Agent
from gtp_fast.errors import UserError
from gtp_fast.policy.restore import restore
from gtp_fast.training import config
from gtp_fast.training.config import RunConfig
from gtp_fast.training.trainer import Trainer


def main(argv: Sequence[str]) -> int:
    """Train as the command line says; return the exit code."""
    command = config.parse(argv)
    if command.run.resume is not None:
        return resume(command.run).train()
    return start(command.run, command.task, command.rules, command.agent).train()


def start(run_config: RunConfig, task: tasks.Task, rules: tasks.Rules, settings: Any) -> Trainer:
    """Load the data, build the agent and make the folder of a new run."""
    device = choose_device(run_config.device)
    chosen = choose_engine(run_config, run_config.seeds, device)
    dataset = collected(task, run_config) if run_config.collect is not None else run_config.dataset
    # Rules left as the task has them are left to the loader, which knows what a flat file lacks.
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
    # Candidates that nothing compares are refused before the training instead of after it.
    agent.acting()
    environment = evaluation_environment(table, run_config.trust_environment)
    run = runs.create(run_config.output, task.name, run_config.agent)
    run.write_config(describe(run_config, task, dataset, table, agent, steps, environment))
    run.write_environment(agent.ops.describe())
    return Trainer(run, agent, table, run_config, chosen, start=0)


def resume(run_config: RunConfig) -> Trainer:
    """Take up a run at its last checkpoint, exactly."""
    run = runs.open_run(str(run_config.resume))
    saved = run.config()
    device = choose_device(run_config.device)
    chosen = choose_engine(run_config, saved["seeds"], device)
    task = tasks.find(saved["task"])
    rules = tasks.Rules(**agents.settings_of(saved["rules"]))
    table = data.load_table(task, saved["dataset"], rules, device)
    # Runs made before there was the setting were of full precision.
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
    """Return the resolved configuration that a run folder keeps: enough to repeat, resume, evaluate
    and deploy it.
    """
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
    """Return the evaluation environment in JSON after checking that the data fit it; None when
    there is none.
    """
    spec = data.evaluation_spec(table, trust_environment=trusted)
    if spec is None:
        return None
    environment = data.make_environment(spec)
    try:
        data.fits_environment(table, environment)
    finally:
        environment.close()
    return spec.to_json()


def choose_engine(
    run_config: RunConfig, seeds: Sequence[int], device: torch.device
) -> engine.Choice:
    """Return the engine asked for; UserError with the reason when it cannot be had."""
    options = (run_config.engine, run_config.backend, device, len(seeds), run_config.processes)
    return engine.choose(*options)


def choose_device(name: str) -> torch.device:
    """Return the device asked for; UserError when it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--device cuda: PyTorch sees no CUDA GPU here; use --device cpu or leave the option "
            "out."
        )
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"Unknown device {name!r}: use auto, cpu or cuda.")
    return torch.device(name)


def collected(task: tasks.Task, run_config: RunConfig) -> str:
    """Make the dataset of a task locally, once; return its folder."""
    from gtp_fast import collect

    made = collect.collect(task, run_config.collect, workers=collect.default_workers(task))
    done = "was collected here earlier" if made.reused else "has been collected here"
    print(f"{made.dataset_id} {done}: locally made data, not Minari's")
    return str(made.path)


if __name__ == "__main__":
    sys.exit(cli.run(main))
