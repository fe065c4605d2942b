"""From a command line or keywords to the settings of a new run."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from gtp_fast import agents, cli, engine, ops, tasks
from gtp_fast.agents import task_settings
from gtp_fast.agents.gtp.config import GTPConfig
from gtp_fast.errors import UserError
from gtp_fast.ops import precision as ops_precision
from gtp_fast.tasks import Rules, Task
from gtp_fast.training import kinds
from gtp_fast.training.options import RunConfig, essential, options_of

_EARLY: dict[str, str | None] = {
    "--task": "", "--dataset": None, "--agent": "gtp", "--resume": None, "--steps": None,
    "--preset": "auto",
}  # fmt: skip
"""Options that the defaults of others depend on."""
_OF_CRITIC = (
    "value_samples", "weight_maximum", "advantage_scale", "value_by", "max_q_backup",
    "critic_learning_rate",
)  # fmt: skip
RESUMABLE = (
    "resume", "engine", "backend", "device", "processes", "tensorboard", "logger", "env",
    "trust_environment",
)  # fmt: skip
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


def parse(argv: Sequence[str], prog: str = "python -m gtp_fast.train") -> Command:
    """Read the options of a new run; --help shows its task and agent's defaults."""
    known, rest = _early(argv)
    short = any(word in rest for word in ("-h", "--help"))
    wants_help = short or "--help-all" in rest
    if not (known.task or known.dataset or wants_help):
        raise UserError(_NO_DATA)
    preset: task_settings.Preset = "paper" if known.preset == "paper" else "auto"
    name = known.task or ("" if known.dataset else "antmaze-large-diverse")
    task, config = _defaults(
        name, known.dataset, known.agent or "gtp", _number(known.steps), preset
    )
    groups = {"run": RunConfig(), "data": task.rules, "agent": config}
    if wants_help:
        show = essential(groups) if short else options_of(groups)
        cli.parse(show, ["--help"], prog, _description(short))
    parsed: Any = cli.parse(options_of(groups), argv, prog)
    asked = {word[2:].split("=")[0].replace("-", "_") for word in argv if word.startswith("--")}
    return _checked(parsed.run, parsed.data, parsed.agent, task, asked)


def of_keywords(
    dataset: str | None, agent: str, options: Mapping[str, Any], name: str | None = None
) -> Command:
    """Return the settings of a run from keywords: the names of the command line's options.

    dataset: as --dataset; name: of data that come from memory. A number stands for one value per
    seed where the option takes several. Raises UserError for an unknown name or a value of another
    kind.
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
            near = difflib.get_close_matches(option, homes, n=3)
            raise UserError(
                f"Unknown option {option!r}"
                + (f": did you mean {', '.join(near)}?" if near else ".")
            )
        groups[homes[option]] = dataclasses.replace(groups[homes[option]], **{option: value})
    return _checked(groups["run"], groups["data"], groups["agent"], task, set(options))


def _defaults(
    name: str, dataset: str | None, agent: str, steps: int | None, preset: task_settings.Preset
) -> tuple[Task, Any]:
    """Return the task that a name or a dataset stands for, and the agent's Config for it."""
    task = tasks.find(name) if dataset is None else tasks.of_dataset(name, dataset)
    return agents.defaults(agent, task, steps, preset)


def _checked(run: RunConfig, rules: Rules, agent: Any, task: Task, asked: set[str]) -> Command:
    settings = _by_map(_by_advantage(_without_critic(agent, asked), asked), asked)
    asked_rules = {
        name: value
        for name, value in vars(rules).items()
        if value != getattr(task.rules, name) or asked & {name, f"no_{name}"}
    }
    command = Command(run, rules, settings, task, asked_rules)
    check(run)
    _check_guidance(run, command.agent, task, asked)
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
    changed = [
        field.name
        for field in dataclasses.fields(RunConfig)
        if getattr(parsed.run, field.name) != field.default and field.name not in RESUMABLE
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


def _without_critic(settings: Any, asked: set[str]) -> Any:
    """Return an agent's settings, with one candidate where eta = 0 trains no critic.

    A number of candidates that was asked for stays.
    """
    by_mean = getattr(settings, "candidate_rule", "") == "mean"
    if by_mean or "num_candidates" in asked or any(getattr(settings, "eta", (1.0,))):
        return settings
    return dataclasses.replace(settings, num_candidates=1)


def _by_advantage(settings: Any, asked: set[str]) -> Any:
    """Return settings whose critic learns where something was asked of it, and say so."""
    named = _named_of_critic(settings, asked)
    if named is None or "advantage_start" in asked or not any(settings.eta):
        return settings
    if settings.advantage_start is not None:
        return settings
    print(
        f"note: {named} asks for weights by advantage, so a critic learns and they act from the "
        "first update on (--advantage-start 0). By default whole episodes alone guide a run, which "
        "scored higher (docs/guidance.md).",
        file=sys.stderr,
    )
    return dataclasses.replace(settings, advantage_start=0)


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


def _named_of_critic(settings: Any, asked: set[str]) -> str | None:
    """Return an option that was asked for and needs a critic of GTP; None without one."""
    if not isinstance(settings, GTPConfig) or settings.objective == "linear-q":
        return None
    named = [name for name in _OF_CRITIC if name in asked]
    named += ["eta"] if any(eta not in (0.0, 1.0) for eta in settings.eta) else []
    return f"--{named[0].replace('_', '-')}" if named else None


def _check_guidance(run: RunConfig, settings: Any, task: Task, asked: set[str]) -> None:
    """Raise UserError when something was asked of advantage weights that never come to act."""
    if run.preset != "auto" and run.agent != "gtp":
        raise UserError(f"--preset {run.preset} is gtp's alone: leave it out for {run.agent}.")
    if not isinstance(settings, GTPConfig) or settings.objective == "linear-q":
        return
    steps, start = run.steps or task.updates, settings.advantage_start
    named = _named_of_critic(settings, asked)
    if named is not None and not any(settings.eta):
        raise UserError(f"{named} does nothing with --eta 0, which trains no critic: leave it out.")
    if named is not None and start is None:
        raise UserError(
            f"{named} does nothing in a run without a critic: give --advantage-start 0 instead "
            "of None, or guide by --trajectory-eta."
        )
    if start is not None and start >= steps and any(settings.eta):
        raise UserError(
            f"--advantage-start {start} lies behind the last of {steps:,} updates: give an earlier "
            "one, or None."
        )


def _description(short: bool) -> str:
    rest = " --help-all lists every option." if short else ""
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
    if run.evaluate_every is not None and run.evaluate_every < 0:
        raise UserError(
            f"--evaluate-every must be at least 0, which is one evaluation at the end, not "
            f"{run.evaluate_every}."
        )
