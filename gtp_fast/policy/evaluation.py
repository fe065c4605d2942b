"""A trained run evaluated again, and its protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro
from gymnasium.envs.registration import EnvSpec

from gtp_fast import tasks
from gtp_fast.agents.acting import ActBy, Acting
from gtp_fast.agents.base import Agent
from gtp_fast.data.environment import Shape
from gtp_fast.data.judging import judged_in
from gtp_fast.errors import UserError
from gtp_fast.evaluation.evaluator import Evaluator
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.evaluation.vector import Environment, name_of
from gtp_fast.ops.candidates import Rule
from gtp_fast.policy.restore import check_acting, check_fit, environment_of, restore
from gtp_fast.runs import checkpoint
from gtp_fast.system import progress, specs

FQE_STEPS = 20_000


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
    """last, best, or a checkpoint by its name or path."""
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
    act_by: ActBy | None = None
    """map (K jumps) or euler (K Euler steps of its flow), of gtp; by default as in training."""
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
    fqe: bool = False
    """Judge the run by its dataset, without an environment: by fitted Q evaluation, and by its
    actions in held-out episodes."""
    video: str | None = None
    """Play the first episodes again, with the same seeds, and record them into this folder; the
    figures come from episodes without a camera."""
    video_episodes: int = 1
    """Episodes that --video records, for each policy."""
    fqe_steps: int = FQE_STEPS
    """Updates of the fitted Q evaluation."""
    dataset: str | None = None
    """Where the run's data lie now, for --fqe; by default where they lay in training."""


def check(options: Options) -> None:
    """Raise UserError for an option that would have no effect."""
    if not options.fqe and options.fqe_steps != FQE_STEPS:
        raise UserError("--fqe-steps needs --fqe: add it, or leave the steps out.")
    if not options.fqe and options.dataset is not None:
        raise UserError("--dataset needs --fqe, which alone reads data: add it, or leave it out.")
    if not options.fqe and options.video is None and _given(options, "video_episodes"):
        raise UserError("--video-episodes needs --video: add it, or leave the number out.")
    names = ("env", "episodes", "environments", "processes", "video", "video_episodes")
    given = [f"--{name.replace('_', '-')}" for name in names if _given(options, name)]
    if options.fqe and given:
        raise UserError(f"--fqe plays no episodes: leave {' and '.join(given)} out.")


def _given(options: Options, name: str) -> bool:
    return bool(getattr(options, name) != getattr(Options, name))


class Subject(NamedTuple):
    """What is evaluated: the agent of a checkpoint, and how it acts."""

    agent: Agent
    saved: checkpoint.Checkpoint
    acting: Acting


def subject(options: Options) -> Subject:
    """Restore the run that is evaluated; UserError for an option out of range."""
    check_acting(
        options.weights, options.k, options.num_candidates, options.noise_scale,
        options.candidate_rule, options.act_by,
    )  # fmt: skip
    agent, saved = restore(options.run, options.checkpoint, options.device, options.backend)
    acting = agent.acting(
        options.weights, options.k, options.num_candidates, noise_scale=options.noise_scale,
        candidate_rule=options.candidate_rule, act_by=options.act_by,
    )  # fmt: skip
    return Subject(agent, saved, acting)


def protocol(options: Options, evaluated: Subject) -> dict[str, Any]:
    """Return run, checkpoint and way of acting, as every file of an evaluation names them."""
    agent, saved, acting = evaluated
    config = saved.config
    # A checkpoint's own folder may be given as the run: that is not its last one.
    asked = options.checkpoint if options.checkpoint in ("last", "best") else ""
    named = asked and (Path(options.run) / "config.yaml").exists()
    which = asked if named else saved.path.name
    return {
        "run": str(_home(saved.path)),
        "task": config["task"],
        "dataset": config.get("dataset_id", config["dataset"]),
        "agent": config["agent"],
        "checkpoint": which,
        "step": saved.step,
        "weights": options.weights or agent.acting_weights,
        "k": acting.steps,
        "num_candidates": acting.candidates,
        "candidate_rule": acting.rule,
        "noise_scale": acting.noise_scale,
        "act_by": acting.act_by,
        "seeds": list(agent.seeds),
        "diverged": {str(seed): step for seed, step in agent.diverged_seeds.items()},
        "evaluation_seed": options.seed,
        "sampler": acting.sampler.describe(),
    }


def _home(saved: Path) -> Path:
    """Return the run folder of a checkpoint, or its own folder where it lies in none."""
    above = saved.resolve().parent.parent
    return above if (above / "config.yaml").exists() else saved


def evaluate(
    options: Options, live: Environment | None = None
) -> tuple[dict[str, Any], Evaluation]:
    """Return the protocol of an evaluation and its episodes; live: an environment to play in."""
    evaluated = subject(options)
    agent, saved, acting = evaluated
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
    if live is not None or options.env is not None:
        spec = environment if isinstance(environment, EnvSpec) else environment.spec
        task = judged_in(task, name_of(environment), spec)
        shape = {name: config[name] for name in Shape._fields if name in config}
        check_fit(Shape(**shape | {"dataset_id": options.run}), environment)
    episodes = config["episodes"] if options.episodes is None else options.episodes
    total = episodes * len(agent.seeds)
    with (
        progress.bar(total, "episode") as bar,
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
        evaluation = evaluator.evaluate(acting.sampler, diverged=agent.diverged_seeds)
        name = evaluator.name
    record = protocol(options, evaluated) | {
        "environment": name,
        "own_environment": _is_own(environment, options, config, live is not None),
        "episodes": episodes,
        "reference": task.reference,
        "reference_source": task.reference_source,
    }
    return record, evaluation


def _is_own(
    environment: Environment, options: Options, config: Mapping[str, Any], live: bool
) -> bool:
    """Return whether a run is judged in its own environment.

    A live one is its own where the run names none.
    """
    stored = config.get("evaluation", {}).get("environment")
    if options.env is None and (stored is None or not live):
        return True
    spec = environment if isinstance(environment, EnvSpec) else environment.spec
    # Environments of one id may differ in their arguments.
    try:
        return spec is not None and bool(json.loads(specs.to_json(spec)) == json.loads(stored))
    except (TypeError, ValueError):
        return False
