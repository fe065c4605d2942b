"""From the settings of a run to its Trainer: data, agent, run folder."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import torch
from gymnasium.envs.registration import EnvSpec

from gtp_fast import agents, data, engine, runs, tasks
from gtp_fast.agents import task_settings
from gtp_fast.agents.base import Agent
from gtp_fast.data import hold_out
from gtp_fast.evaluation.vector import Environment
from gtp_fast.policy.restore import check_fit, environment_of, restore, table_of
from gtp_fast.system.device import current_device
from gtp_fast.training import sized
from gtp_fast.training.callbacks import Callback
from gtp_fast.training.config import Command
from gtp_fast.training.options import RunConfig
from gtp_fast.training.place import Place, asked_box, evaluation_place, judged
from gtp_fast.training.trainer import Trainer


def start(
    command: Command,
    arrays: Any = None,
    environment: gymnasium.Env[Any, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    folder: Path | None = None,
) -> Trainer:
    """Load the data, build the agent and make the folder of a new run.

    arrays: data from memory instead of --dataset, as `data.load_table` takes them. environment: a
    live one instead of --env. folder: to be made; by default a dated one in --output.
    """
    run_config, task = command.run, command.task
    device = current_device(run_config.device)
    chosen = _engine(run_config, device, len(run_config.seeds))
    dataset = run_config.dataset
    if run_config.collect is not None:
        dataset = collected(task, run_config.collect)
    table = data.load_table(
        task,
        dataset if arrays is None else arrays,
        # The loader adapts the rest of the task's rules to what a flat file lacks.
        command.asked_rules,
        device,
        box=asked_box(run_config, environment),
    )
    place = evaluation_place(table, task, run_config, environment)
    task = judged(task, run_config, environment)
    # Arrays from memory have no name to find them by.
    if dataset is None and task.datasets and not isinstance(arrays, Mapping):
        dataset = table.dataset_id
    standard: tuple[tuple[float, ...], tuple[float, ...]] = (), ()
    if run_config.normalise_observations:
        standard = hold_out.split(table, run_config.hold_out)[0].moments()
    settings = sized.settings(command, len(table))
    agent = agents.build(
        run_config.agent,
        settings,
        table.observation_dim,
        table.action_dim,
        run_config.seeds,
        device,
        chosen.backend,
        run_config.precision,
        standard,
    )
    _check_sizes(agent)
    # Refuse candidates without a critic before the training instead of after it.
    agent.acting()
    found: Environment | None = environment
    if found is None and place.environment is not None:
        # Whether it may be built was decided when the place was chosen.
        found = EnvSpec.from_json(place.environment)
    run = (
        runs.create(run_config.output, task.name, run_config.agent)
        if folder is None
        else runs.make(folder)
    )
    try:
        steps = run_config.steps or task.updates
        facts = describe(run_config, task, dataset, table, agent, steps, place)
        facts["setting_sources"] |= sized.sources(command, settings)
        run.write_config(facts)
        run.write_environment(agent.ops.describe())
        return Trainer.held(
            run,
            agent,
            table.standardised(*standard) if standard[0] else table,
            chosen,
            start=0,
            logged=run_config.loggers,
            callbacks=callbacks,
            environment=found,
        )
    except BaseException:
        # A start that failed leaves nothing behind.
        shutil.rmtree(run.path, ignore_errors=True)
        raise


def resume(
    run_config: RunConfig,
    arrays: Any = None,
    environment: gymnasium.Env[Any, Any] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """Continue a run from its last checkpoint, to the same bits; arguments as for `start`."""
    run = runs.open_run(str(run_config.resume))
    saved = run.config()
    device = current_device(run_config.device)
    chosen = _engine(run_config, device, len(saved["seeds"]))
    found: Environment | None = environment
    if found is None:
        found = environment_of(saved, run, run_config.env, run_config.trust_environment)
    table = table_of(saved, run_config.dataset if arrays is None else arrays, device)
    task = judged(tasks.of_run(saved), run_config, environment)
    if found is not None and (environment is not None or run_config.env is not None):
        check_fit(table, found)
    # Older runs lack the setting: they had full precision.
    precision = saved.get("precision", "fp32")
    agent, last = restore(run, device=device, backend=chosen.backend, precision=precision)
    _check_sizes(agent)
    # A sampler of sizes beyond the native one is known, and said, once it is made.
    agent.ops.sampler(agent.acting_policy())
    return Trainer.held(
        run,
        agent,
        table,
        chosen,
        start=last.step,
        logged=run_config.loggers,
        callbacks=callbacks,
        environment=found,
        sums=last.meta.get("metrics"),
        task=task,
    )


def describe(
    run_config: RunConfig,
    task: tasks.Task,
    dataset: str | None,
    table: data.TransitionTable,
    agent: Agent,
    steps: int,
    place: Place,
) -> dict[str, Any]:
    """Return the configuration to repeat, resume, evaluate and deploy a run."""
    return {
        "task": task.name,
        "task_facts": task.facts(),
        "agent": run_config.agent,
        "dataset": dataset,
        "dataset_id": table.dataset_id,
        "data": table.facts(),
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
        "observation_widths": list(table.observation_widths),
        "observation_dim": table.observation_dim,
        "observation_mean": list(agent.setup.observation_mean),
        "observation_scale": list(agent.setup.observation_scale),
        "action_dim": table.action_dim,
        "action_low": list(table.action_low),
        "action_high": list(table.action_high),
        "evaluate_every": run_config.evaluate_every,
        "episodes": run_config.episodes or task.episodes(steps),
        "checkpoint_every": run_config.checkpoint_every,
        "keep_checkpoints": run_config.keep_checkpoints,
        "log_every": run_config.log_every,
        "hold_out": run_config.hold_out,
        "evaluation": place._asdict(),
    }


def collected(task: tasks.Task, transitions: int | None) -> str:
    """Collect the dataset of a task locally, or reuse it; return its folder."""
    from gtp_fast import collect

    made = collect.collect(task, transitions, workers=collect.default_workers(task))
    done = "was collected here earlier" if made.reused else "has been collected here"
    print(f"{made.dataset_id} {done}: locally made data, not Minari's")
    return str(made.path)


def _check_sizes(agent: Agent) -> None:
    """Raise UserError where fused forms are asked for and a size of training is beyond one.

    An agent that only acts needs its sampler alone, which refuses what it does not hold itself.
    """
    if agent.backend == "fused":
        agent.ops.refuse_beyond()


def _engine(run_config: RunConfig, device: torch.device, seeds: int) -> engine.Choice:
    return engine.choose(run_config.engine, run_config.backend, device, seeds, run_config.processes)
