"""Episodes of a trained run as videos: the first ones of its evaluation, played once more."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from gtp_fast.errors import UserError
from gtp_fast.evaluation import camera
from gtp_fast.evaluation.evaluator import Evaluator
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.policy.evaluation import Options, subject
from gtp_fast.policy.restore import environment_of
from gtp_fast.system import progress
from gtp_fast.system.files import unwritable


def check(episodes: int) -> None:
    """Raise UserError, before anything is played, where no video can be recorded."""
    if episodes < 1:
        raise UserError("--video-episodes counts from 1: leave --video out for none.")
    camera.prepare()


def record(options: Options, folder: Path) -> list[Path]:
    """Record the first episodes of each policy; return the files seed<N>-episode<I>.mp4.

    Seeds of resets and noise are those of the evaluation, so the episodes are the same. UserError
    where the environment cannot be drawn or a file cannot be written.
    """
    return play(options, folder)[0]


def play(options: Options, folder: Path) -> tuple[list[Path], Evaluation]:
    """Record as `record` does; return the files and what the episodes reached."""
    agent, saved, acting = subject(options)
    config = saved.config
    spec = environment_of(config, options.run, options.env, options.trust_environment)
    if spec is None:
        raise UserError(f"{options.run} names no environment to record: name one by --env.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as hidden:
            environment = camera.recorded(spec, Path(hidden))
            total = options.video_episodes * len(agent.seeds)
            with closing(environment), progress.bar(total, "video") as bar, Evaluator(
                environment, config["observation_keys"], agent.seeds, options.video_episodes,
                seed=options.seed, low=config["action_low"], high=config["action_high"],
                device=agent.device, progress=lambda done, _: bar.update(done - bar.n),
            ) as evaluator:  # fmt: skip
                evaluation = evaluator.evaluate(acting.sampler, diverged=agent.diverged_seeds)
            return _named(Path(hidden), folder, agent.seeds, options.video_episodes), evaluation
    except OSError as error:
        raise UserError(unwritable(folder, error)) from error


def _named(hidden: Path, folder: Path, seeds: tuple[int, ...], episodes: int) -> list[Path]:
    """Move videos, which are numbered through, to the names of their seeds and episodes."""
    files = []
    for number, (seed, episode) in enumerate((s, e) for s in seeds for e in range(episodes)):
        made = hidden / f"all-episode-{number}.mp4"
        files.append(made.replace(folder / f"seed{seed}-episode{episode}.mp4"))
    return files
