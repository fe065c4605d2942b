"""Options of a run: what is trained, on what, for how long, and what is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

import tyro

from gtp_fast.agents import task_settings
from gtp_fast.system.option_texts import told

NO_ENVIRONMENT = "--env none"
ESSENTIAL = (
    "task", "dataset", "env", "agent", "seeds", "steps", "eta", "trajectory_eta", "width",
    "episodes", "device", "output", "resume",
)  # fmt: skip
"""Options that --help shows; --help-all shows all."""


@dataclass(frozen=True)
class RunConfig:
    """What is trained, on what, for how long, and what is kept."""

    task: str = ""
    """Task, such as antmaze-large-diverse, hopper-medium-expert or pointmaze-umaze: a preset of
    dataset, environment, rules and references. Without one --dataset says what is trained on.
    """
    agent: str = "gtp"
    """Algorithm: gtp, diffusion-ql, consistency-ac, fql, qipo-diff, qipo-ot, sscql, iql or bc."""
    dataset: str | None = None
    """Minari id or folder, or a file of transitions (docs/formats.md lists the formats); by default
    the task's own Minari dataset.
    """
    env: str | None = None
    """Gymnasium id of the environment to evaluate in, MODULE:ID for one of your own, none for no
    evaluation; by default the dataset's own.
    """
    collect: int | None = None
    """Make the dataset locally first, with this many transitions (once; it is kept and reused)."""
    seeds: tuple[int, ...] = (0,)
    """Seeds, all trained together."""
    steps: int | None = None
    """Updates; by default those of the agent's authors, for gtp 2,000,000 for locomotion, 1,000,000
    for antmaze and OGBench, 200,000 for pointmaze and for data without a task.
    """
    preset: task_settings.Preset = "auto"
    """Settings of gtp that are not given: auto takes what has won here, by --steps
    and the size of the data (docs/guidance.md says which, and what each bought); paper takes those
    of the paper.
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
    """Updates between evaluations, each of all episodes. By default a tenth of the run, with as
    many episodes as take a fifth of its time; the last evaluation has all of them. 0 for that one
    alone.
    """
    episodes: int | None = None
    """Episodes per evaluation and seed; by default 10 for locomotion and 100 for mazes, 10 in a run
    of less than 1,000 updates.
    """
    checkpoint_every: int | None = None
    """Updates between checkpoints; by default as often as evaluations, at least 10 times a run."""
    keep_checkpoints: int | Literal["all"] = 2
    """Newest checkpoints that stay in the run folder, or all; the best stays as well."""
    normalise_observations: bool = False
    """Train on observations less their mean, divided by their deviation + 1e-3; the policy reads
    raw ones, at the same speed.
    """
    hold_out: float = 0.0
    """Share of the episodes, such as 0.05, that is not trained on: metrics.csv notes the policy's
    error on them, and the run says where it learns the data by heart.
    """
    log_every: int = 500
    """Updates between rows of metrics.csv."""
    resume: str | None = None
    """Run folder to go on with, exactly where its last checkpoint stands; it brings its own
    settings.
    """
    output: str = "runs"
    """Folder that run folders are made in."""
    logger: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Where metrics go besides metrics.csv: tensorboard, wandb, trackio, or several of them."""
    tensorboard: bool = False
    """The same as --logger tensorboard."""
    trust_environment: bool = False
    """Allow a dataset or a run folder to name an environment that is not registered here."""

    @property
    def loggers(self) -> tuple[str, ...]:
        """Names of the loggers that were asked for, each once."""
        return tuple(dict.fromkeys((*self.logger, *["tensorboard"] * self.tensorboard)))


def options_of(groups: Mapping[str, Any]) -> Any:
    """Return the type of the options of several dataclass objects in one flat list."""
    flat: Any = tyro.conf.OmitArgPrefixes
    fields = [
        (name, flat[type(default)], dataclasses.field(default=default))
        for name, default in groups.items()
    ]
    return dataclasses.make_dataclass("Options", fields, frozen=True)


def told_groups(groups: Mapping[str, Any]) -> dict[str, Any]:
    """Return the groups for --help-all, each text of an option in one paragraph."""
    return {name: told(type(one))(**vars(one)) for name, one in groups.items()}


def essential(groups: Mapping[str, Any]) -> Any:
    """Return the type of the few options that --help shows."""
    fields: list[Any] = []
    for one in groups.values():
        types = get_type_hints(told(type(one)), include_extras=True)
        for field in dataclasses.fields(one):
            if field.name in ESSENTIAL:
                default = dataclasses.field(default=getattr(one, field.name))
                fields.append((field.name, types[field.name], default))
    fields.sort(key=lambda field: ESSENTIAL.index(field[0]))
    return dataclasses.make_dataclass("Options", fields, frozen=True)
