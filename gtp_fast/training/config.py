"""Options of the training command: run, data and agent in one flat list."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro

from gtp_fast import agents, cli, engine, ops, tasks
from gtp_fast.agents import task_settings
from gtp_fast.agents.gtp.config import GTPConfig
from gtp_fast.errors import UserError
from gtp_fast.ops import precision as ops_precision
from gtp_fast.tasks import Rules, Task

_EARLY = {"--task": "", "--agent": "gtp", "--resume": None, "--steps": None, "--preset": "auto"}
"""Options that the defaults of others depend on."""
_OF_CRITIC = ("value_samples", "weight_maximum", "max_q_backup", "critic_learning_rate")
_RESUMABLE = ("resume", "engine", "backend", "device", "processes", "tensorboard")


@dataclass(frozen=True)
class RunConfig:
    """What is trained, on what, for how long, and what is kept."""

    task: str = ""
    """Task, such as antmaze-large-diverse, hopper-medium-expert or pointmaze-umaze."""
    agent: str = "gtp"
    """Algorithm: gtp, diffusion-ql, consistency-ac, fql, qipo-diff, qipo-ot, sscql, iql or bc."""
    dataset: str | None = None
    """Minari id, D4RL .hdf5 file or .npz file; by default the task's own Minari dataset."""
    collect: int | None = None
    """Make the dataset locally first, with this many transitions (once; it is kept and reused)."""
    seeds: tuple[int, ...] = (0,)
    """Seeds, all trained together."""
    steps: int | None = None
    """Updates; by default those of the agent's authors, for gtp 2,000,000 for locomotion, 1,000,000
    for antmaze, 200,000 for pointmaze.
    """
    preset: task_settings.Preset = "auto"
    """Settings of gtp that are not given: auto takes what has won here, by --steps
    (docs/guidance.md says which, and what each bought); paper takes those of the paper.
    """
    engine: str = "auto"
    """How updates are run: eager, compiled (torch.compile), captured (CUDA graphs), fused (fused
    operations alone, captured on a GPU), or auto, the highest that the machine has.
    """
    backend: str = "auto"
    """Operations of an engine: auto, reference (plain PyTorch), compiled, or fused (an error where
    it is not available).
    """
    precision: str = "fp32"
    """What the matrix products of training read under fused operations: fp32; bf16 by the tensor
    cores of a GPU, or by AMX or AVX-512 BF16 of a CPU; tf32 by a GPU alone. Sums, parameters and
    the optimiser are float32 in all.
    """
    device: str = "auto"
    """auto, cpu or cuda."""
    processes: int | None = None
    """Processes that share the seeds on a CPU, each with one thread; 1 for this process with all of
    its threads. By default one for each core where they share the seeds evenly, else 1.
    """
    evaluate_every: int | None = None
    """Updates between evaluations; by default a tenth of the run. 0 for one evaluation, at the end.
    """
    episodes: int | None = None
    """Episodes per evaluation and seed; by default 10 for locomotion and 100 for mazes."""
    checkpoint_every: int | None = None
    """Updates between checkpoints; by default as often as evaluations, at least 10 times a run."""
    log_every: int = 500
    """Updates between rows of metrics.csv."""
    resume: str | None = None
    """Run folder to go on with, exactly where its last checkpoint stands; it brings its own
    settings.
    """
    output: str = "runs"
    """Folder that run folders are made in."""
    tensorboard: bool = False
    """Write TensorBoard files too."""
    trust_environment: bool = False
    """Allow a dataset to name an environment outside gymnasium and gymnasium_robotics."""


@dataclass(frozen=True)
class Command:
    """The options of a new run."""

    run: RunConfig
    rules: Rules
    agent: Any
    task: Task


def parse(argv: Sequence[str], prog: str = "python -m gtp_fast.train") -> Command:
    """Read the options of a new run; --help shows its task and agent's defaults."""
    known, rest = _early(argv)
    wants_help = "-h" in rest or "--help" in rest
    if not known.task and not wants_help:
        raise UserError(
            "Say which task to train: --task antmaze-large-diverse, for example; --help lists "
            "every option."
        )
    agent = known.agent or "gtp"
    task, config = agents.defaults(
        agent,
        tasks.find(known.task or "antmaze-large-diverse"),
        _number(known.steps),
        "paper" if known.preset == "paper" else "auto",
    )
    parsed: Any = cli.parse(_options(RunConfig(), task.rules, config), argv, prog, _description())
    settings = _without_critic(parsed.agent, argv)
    command = Command(run=parsed.run, rules=parsed.data, agent=settings, task=task)
    _check(command)
    _check_guidance(command.run, settings, task, argv)
    return command


def parse_resumed(argv: Sequence[str], prog: str = "python -m gtp_fast.train") -> RunConfig | None:
    """Read the options of a run that goes on; None where no --resume is given.

    UserError for an option that would change the result.
    """
    if _early(argv)[0].resume is None:
        return None
    parsed: Any = cli.parse(_options(RunConfig(), Rules()), argv, prog, _description())
    changed = [
        field.name
        for field in dataclasses.fields(RunConfig)
        if getattr(parsed.run, field.name) != field.default and field.name not in _RESUMABLE
    ]
    if changed or parsed.data != Rules():
        named = (
            ", ".join(f"--{name.replace('_', '-')}" for name in changed)
            or "the options of the data"
        )
        raise UserError(
            f"--resume takes the settings of the run it goes on with: leave out {named}."
        )
    run: RunConfig = parsed.run
    return run


def _early(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options that the defaults of others depend on, and the words left."""
    names = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    for option, value in _EARLY.items():
        names.add_argument(option, default=value, nargs="?")
    return names.parse_known_args(list(argv))


def _number(word: str | None) -> int | None:
    """Read a number of updates; the later parser of all options refuses other words."""
    try:
        return None if word is None else int(word)
    except ValueError:
        return None


def _without_critic(settings: Any, argv: Sequence[str]) -> Any:
    """Return an agent's settings, with one candidate where eta = 0 trains no critic.

    A number of candidates that the command line names stays.
    """
    by_mean = getattr(settings, "candidate_rule", "") == "mean"
    if by_mean or _asked(argv, "num_candidates") or any(getattr(settings, "eta", (1.0,))):
        return settings
    return dataclasses.replace(settings, num_candidates=1)


def _asked(argv: Sequence[str], name: str) -> bool:
    option = f"--{name.replace('_', '-')}"
    return any(word.split("=")[0].replace("_", "-") == option for word in argv)


def _check_guidance(run: RunConfig, settings: Any, task: Task, argv: Sequence[str]) -> None:
    """Raise UserError when something was asked of advantage weights that never come to act."""
    if run.preset != "auto" and run.agent != "gtp":
        raise UserError(f"--preset {run.preset} is gtp's alone: leave it out for {run.agent}.")
    if not isinstance(settings, GTPConfig) or settings.objective == "linear-q":
        return
    steps, start = run.steps or task.updates, settings.advantage_start
    if start is None:
        dead = [name for name in _OF_CRITIC if _asked(argv, name)]
        dead += ["eta"] if any(eta not in (0.0, 1.0) for eta in settings.eta) else []
        if dead:
            raise UserError(
                f"--{dead[0].replace('_', '-')} does nothing in a run without a critic, as one of "
                f"less than {task_settings.SHORT:,} updates is by default: give --advantage-start "
                "0 too, or guide by --trajectory-eta."
            )
    elif start >= steps and any(settings.eta):
        raise UserError(
            f"--advantage-start {start} lies behind the last of {steps:,} updates: give an earlier "
            "one, or None."
        )


def _options(run: RunConfig, rules: Rules, agent: Any = None) -> Any:
    """Return the type of all options in one flat list; agent: a Config, or none."""
    groups = {"run": run, "data": rules} | ({} if agent is None else {"agent": agent})
    flat: Any = tyro.conf.OmitArgPrefixes
    fields = [
        (name, flat[type(default)], dataclasses.field(default=default))
        for name, default in groups.items()
    ]
    return dataclasses.make_dataclass("Options", fields, frozen=True)


def _description() -> str:
    return f"Train a policy on a fixed dataset and evaluate it. Tasks: {', '.join(tasks.TASKS)}."


def _check(command: Command) -> None:
    run = command.run
    if run.backend not in ops.BACKENDS:
        raise UserError(
            f"Unknown backend {run.backend!r}: choose one of {', '.join(ops.BACKENDS)}."
        )
    if run.engine not in engine.ENGINES:
        raise UserError(
            f"Unknown engine {run.engine!r}: choose one of {', '.join(engine.ENGINES)}."
        )
    ops_precision.checked(run.precision, ops_precision.TRAINING)
    if len(set(run.seeds)) != len(run.seeds) or not run.seeds:
        raise UserError("--seeds must name at least one seed and none twice.")
    for name in ("steps", "episodes", "checkpoint_every", "collect", "log_every", "processes"):
        value = getattr(run, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {value}.")
