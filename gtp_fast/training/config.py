"""From a command line or keywords to the settings of a new run."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from gtp_fast import agents, cli, engine, ops, tasks
from gtp_fast.agents import task_settings
from gtp_fast.agents.gtp.config import GTPConfig
from gtp_fast.errors import UserError, unknown
from gtp_fast.ops import precision as ops_precision
from gtp_fast.tasks import Rules, Task
from gtp_fast.training import guided, kinds
from gtp_fast.training.options import RunConfig, essential, options_of, told_groups

_EARLY: dict[str, str | None] = {
    "--task": "", "--dataset": None, "--agent": "gtp", "--resume": None, "--steps": None,
    "--preset": "auto",
}  # fmt: skip
"""Options that the defaults of others depend on."""
RESUMABLE = (
    "resume", "engine", "backend", "device", "processes", "tensorboard", "logger", "env",
    "trust_environment", "dataset",
)  # fmt: skip
_SHOWN = "antmaze-large-diverse"
"""Task with the defaults that --help shows where none is named."""
_LAST_SEED = 2**63 - 1
"""The last one that files hold; keys of random numbers have 64 bits."""
_NO_DATA = (
    "Say what to train on: --task antmaze-large-diverse, for example, or --dataset with a file or "
    "a Minari id of your own; --help lists the options."
)


@dataclass(frozen=True)
class Command:
    """The settings of a new run."""

    run: RunConfig
    rules: Rules
    agent: Any
    task: Task
    asked_rules: Mapping[str, Any] = field(default_factory=dict)
    """The rules that were asked for by name, also where they are the task's own."""
    asked: frozenset[str] = frozenset()
    """Names of all options that were given."""


def parse(argv: Sequence[str], prog: str = "python -m gtp_fast.train") -> Command:
    """Read the options of a new run; --help shows its task and agent's defaults."""
    known, rest = _early(argv)
    short = any(word in rest for word in ("-h", "--help"))
    wants_help = short or "--help-all" in rest
    if not (known.task or known.dataset or wants_help):
        raise UserError(_NO_DATA)
    preset: task_settings.Preset = "paper" if known.preset == "paper" else "auto"
    name = known.task or ("" if known.dataset else _SHOWN)
    task, config = _defaults(
        name, known.dataset, known.agent or "gtp", _number(known.steps), preset
    )
    groups = {"run": RunConfig(), "data": task.rules, "agent": config}
    if wants_help:
        show = essential(groups) if short else options_of(told_groups(groups))
        named = bool(known.task or known.dataset)
        cli.parse(show, ["--help"], prog, _description(short, named))
    parsed: Any = cli.parse(options_of(groups), argv, prog)
    return _checked(parsed.run, parsed.data, parsed.agent, task, _asked(argv))


def _asked(argv: Sequence[str]) -> set[str]:
    """Return the names of the options that were given, also where they have their defaults."""
    return {word[2:].split("=")[0].replace("-", "_") for word in argv if word.startswith("--")}


def of_keywords(
    dataset: str | None,
    agent: str,
    options: Mapping[str, Any],
    name: str | None = None,
    shared: bool = False,
) -> Command:
    """Return the settings of a run from keywords: the names of the command line's options.

    dataset: as --dataset; name: of data that come from memory; shared: as for `guided.check`. A
    number stands for one value per seed where the option takes several. Raises UserError for an
    unknown name or a value of another kind.
    """
    task_name = options.get("task", "")
    if not (task_name or dataset or name):
        raise UserError(_NO_DATA)
    options = kinds.checked(options, (RunConfig, Rules, agents.find(agent).Config))
    task, config = _defaults(
        task_name, dataset or name, agent, options.get("steps"), options.get("preset", "auto")
    )
    groups = {"run": RunConfig(dataset=dataset, agent=agent), "data": task.rules, "agent": config}
    homes = {field.name: key for key, one in groups.items() for field in dataclasses.fields(one)}
    for option, value in options.items():
        if option not in homes:
            raise UserError(unknown(option, homes))
        groups[homes[option]] = dataclasses.replace(groups[homes[option]], **{option: value})
    return _checked(groups["run"], groups["data"], groups["agent"], task, set(options), shared)


def _defaults(
    name: str, dataset: str | None, agent: str, steps: int | None, preset: task_settings.Preset
) -> tuple[Task, Any]:
    """Return the task that a name or a dataset stands for, and the agent's Config for it."""
    task = tasks.find(name) if dataset is None else tasks.of_dataset(name, dataset)
    return agents.defaults(agent, task, steps, preset)


def _checked(
    run: RunConfig, rules: Rules, agent: Any, task: Task, asked: set[str], shared: bool = False
) -> Command:
    settings = _by_map(guided.settled(agent, asked), asked)
    asked_rules = {
        name: value
        for name, value in vars(rules).items()
        if value != getattr(task.rules, name) or asked & {name, f"no_{name}"}
    }
    command = Command(run, rules, settings, task, asked_rules, frozenset(asked))
    check(run)
    guided.check(run, settings, task, asked, shared)
    return command


def parse_resumed(argv: Sequence[str], prog: str = "python -m gtp_fast.train") -> RunConfig | None:
    """Read the options of a run that goes on; None where no --resume is given.

    UserError for an option that would change the result.
    """
    resume = _early(argv)[0].resume
    if not resume and any(word.split("=")[0] == "--resume" for word in argv):
        raise UserError("--resume needs a run folder.")
    if resume is None:
        return None
    parsed: Any = cli.parse(options_of({"run": RunConfig(), "data": Rules()}), argv, prog)
    known = {*RESUMABLE, *(f"no_{name}" for name in RESUMABLE)}
    if others := sorted(_asked(argv) - known):
        named = ", ".join(f"--{name.replace('_', '-')}" for name in others)
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


def _by_map(settings: Any, asked: set[str]) -> Any:
    """Return settings that act by the map where Euler steps were not tried.

    That is with other objectives than gtp, without a flow loss, and in one step, which would be a
    mean. A way to act that was asked for stays.
    """
    if not isinstance(settings, GTPConfig) or "act_by" in asked:
        return settings
    if settings.objective == "gtp" and all(settings.lambda_flow) and settings.k > 1:
        return settings
    return dataclasses.replace(settings, act_by="map")


def _description(short: bool, named: bool) -> str:
    rest = " --help-all lists every option." if short else ""
    if not named:
        rest += f" Defaults shown are those of {_SHOWN}: add --task or --dataset to see your own."
    return (
        "Train a policy on a fixed dataset and evaluate it. Tasks: "
        f"{', '.join(tasks.TASKS)}; or --dataset with data of your own.{rest}"
    )


def check(run: RunConfig) -> None:
    """Raise UserError for an option of a run out of range."""
    if run.backend not in ops.BACKENDS:
        raise UserError(
            f"Unknown backend {run.backend!r}: choose one of {', '.join(ops.BACKENDS)}."
        )
    if run.engine not in engine.ENGINES:
        raise UserError(
            f"Unknown engine {run.engine!r}: choose one of {', '.join(engine.ENGINES)}."
        )
    ops_precision.checked(run.precision, ops_precision.TRAINING)
    for seed in run.seeds:
        whole = isinstance(seed, Integral) and not isinstance(seed, bool)
        if not whole or not 0 <= seed <= _LAST_SEED:
            raise UserError(
                f"--seeds must be whole numbers from 0 to {_LAST_SEED}, not {seed!r:.40}."
            )
    if len(set(run.seeds)) != len(run.seeds) or not run.seeds:
        raise UserError("--seeds must name at least one seed and none twice.")
    for name in ("steps", "episodes", "checkpoint_every", "collect", "log_every", "processes"):
        value = getattr(run, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {value}.")
    kept = run.keep_checkpoints
    if kept != "all" and (type(kept) is not int or kept < 1):
        raise UserError(f"--keep-checkpoints must be at least 1, or all, not {kept}.")
    if not 0.0 <= run.hold_out < 1.0:
        raise UserError(f"--hold-out must be at least 0 and below 1, not {run.hold_out}.")
    if run.evaluate_every is not None and run.evaluate_every < 0:
        raise UserError(
            f"--evaluate-every must be at least 0, which is one evaluation at the end, not "
            f"{run.evaluate_every}."
        )
