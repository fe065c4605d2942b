"""A trained run evaluated again: its protocol, its table and its file."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
import tyro
from tqdm import tqdm

from gtp_fast import tasks
from gtp_fast.data.environment import kind
from gtp_fast.errors import UserError
from gtp_fast.evaluation.evaluator import Evaluator
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.evaluation.vector import Environment
from gtp_fast.ops.candidates import Rule
from gtp_fast.policy.restore import check_acting, environment_of, restore
from gtp_fast.runs import plain
from gtp_fast.system.files import write_atomically


@dataclass(frozen=True)
class Options:
    """What is evaluated, and how."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder, or one of its checkpoints."""
    env: str | None = None
    """Gymnasium id of another environment than that of training."""
    episodes: int | None = None
    """Episodes per policy; by default as many as in training."""
    seed: int = 0
    """Seed of the evaluation: resets and noise follow from it. Training evaluates with seed 0."""
    checkpoint: str = "last"
    """last, best, or the path of a checkpoint."""
    weights: str | None = None
    """ema (the moving average) or online; by default what the agent's authors evaluate."""
    k: int | None = None
    """Steps of the sampler; by default those of training."""
    num_candidates: int | None = None
    """Actions drawn for each decision; by default as in training."""
    candidate_rule: Rule | None = None
    """softmax or argmax of the target critic, or mean; by default as in training."""
    noise_scale: float | None = None
    """Scale of the initial noise, 0 for none; by default as in training."""
    trust_environment: bool = False
    """Allow the run folder to name an environment that is not registered here."""
    device: str = "cpu"
    """cpu or cuda."""
    backend: str = "auto"
    """auto, reference or fused."""
    environments: int = 8
    """Parallel environments per policy; changes the time, never the result."""
    processes: int | None = None
    """Worker processes, 0 for none; by default as many as pay. Changes the time only."""


def evaluate(
    options: Options, live: gymnasium.Env[Any, Any] | None = None
) -> tuple[dict[str, Any], Evaluation]:
    """Return the protocol of an evaluation and its episodes; live: an environment to play in."""
    check_acting(
        options.weights, options.k, options.num_candidates, options.noise_scale,
        options.candidate_rule,
    )  # fmt: skip
    agent, saved = restore(options.run, options.checkpoint, options.device, options.backend)
    config = saved.config
    environment: Environment | None = live
    if live is None:
        environment = environment_of(config, options.run, options.env, options.trust_environment)
    if environment is None:
        raise UserError(
            f"{options.run} names no environment to evaluate in: name one by --env, or judge it by "
            "--fqe."
        )
    task = tasks.of_run(config)
    own = task.environment is not None and options.env is not None
    if own and kind(str(options.env)) != kind(str(task.environment)):
        task = task.without_reference(str(options.env))
    episodes = options.episodes or config["episodes"]
    acting = agent.acting(
        options.weights, options.k, options.num_candidates, noise_scale=options.noise_scale,
        candidate_rule=options.candidate_rule,
    )  # fmt: skip
    total = episodes * len(agent.seeds)
    with (
        tqdm(total=total, unit="episode", file=sys.stderr, leave=False) as bar,
        Evaluator(
            environment,
            config["observation_keys"],
            agent.seeds,
            episodes,
            seed=options.seed,
            reference=task.reference,
            environments=options.environments,
            processes=options.processes,
            low=config["action_low"],
            high=config["action_high"],
            device=agent.device,
            progress=lambda done, _: bar.update(done - bar.n),
        ) as evaluator,
    ):
        evaluation = evaluator.evaluate(acting.sampler)
        name = evaluator.name
    which = options.checkpoint if options.checkpoint in ("last", "best") else saved.path.name
    record = {
        "run": str(saved.path.parent.parent),
        "task": task.name,
        "dataset": config.get("dataset_id", config["dataset"]),
        "environment": name,
        "agent": config["agent"],
        "checkpoint": which,
        "step": saved.step,
        "weights": options.weights or agent.acting_weights,
        "k": acting.steps,
        "num_candidates": acting.candidates,
        "candidate_rule": acting.rule,
        "noise_scale": acting.noise_scale,
        "episodes": episodes,
        "seeds": list(agent.seeds),
        "evaluation_seed": options.seed,
        "sampler": acting.sampler.describe(),
        "reference": task.reference,
        "reference_source": task.reference_source,
    }
    return record, evaluation


def table(record: dict[str, Any], evaluation: Evaluation) -> str:
    """Return the result as text, with its protocol."""
    count = len(evaluation.seeds)
    lines = [
        f"{record['task']} on {record['dataset']}, in {record['environment']}",
        f"{record['agent']}, {record['checkpoint']} checkpoint (update {record['step']:,}), "
        f"{record['weights']} weights, K = {record['k']}, "
        f"num_candidates = {record['num_candidates']}"
        + (f" ({record['candidate_rule']})" if record["candidate_rule"] else "")
        + f", noise_scale = {record['noise_scale']:g}",
        f"{record['episodes']} episodes for each of {count} seed{'s' * (count > 1)}, "
        f"evaluation seed {record['evaluation_seed']}",
        "",
    ]
    names = {
        "score": "normalised return",
        "success_rate": "success rate",
        "return": "return",
        "length": "length",
    }
    means = evaluation.means()
    columns = [name for name in names if name in means]
    width = max(len(names[name]) for name in columns) + 2
    lines.append("seed".ljust(6) + "".join(names[name].rjust(width) for name in columns))
    for i, seed in enumerate(evaluation.seeds):
        lines.append(
            str(seed).ljust(6)
            + "".join(_figure(name, means[name][i]).rjust(width) for name in columns)
        )
    if count > 1:
        lines.append(
            "mean".ljust(6)
            + "".join(_figure(n, float(np.mean(means[n]))).rjust(width) for n in columns)
        )
        lines.append(
            "std".ljust(6)
            + "".join(_figure(n, float(np.std(means[n], ddof=1))).rjust(width) for n in columns)
        )
    if record["reference"] is not None:
        low, high = record["reference"]
        lines += ["", f"normalised return = 100 (return - {low:g}) / ({high:g} - {low:g})"]
    lines.append(record["reference_source"])
    return "\n".join(lines)


def write(record: dict[str, Any], evaluation: Evaluation) -> Path:
    """Write protocol and episodes into RUN/evaluations/; return the file, named by its protocol."""
    folder = Path(record["run"]) / "evaluations"
    name = (
        f"step_{record['step']:09d}-{record['weights']}-k{record['k']}-n{record['num_candidates']}"
        f"{record['candidate_rule'] or ''}"
        f"-z{record['noise_scale']:g}"
        f"-seed{record['evaluation_seed']}-{record['episodes']}episodes.json"
    )
    figures = {
        "return": evaluation.returns,
        "length": evaluation.lengths,
        "success": evaluation.successes if evaluation.tells_success else None,
        "environment_seed": evaluation.environment_seeds,
    }
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made ({error.strerror}): make the run folder writable."
        ) from error
    content = record | {"means": evaluation.means(), "per_episode": figures}
    write_atomically(folder / name, json.dumps(plain(content), indent=1) + "\n")
    return folder / name


def _figure(name: str, value: float) -> str:
    return f"{value:.3f}" if name == "success_rate" else f"{value:.1f}"
