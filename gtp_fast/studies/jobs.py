"""A job: one run of a study in its own folder, begun, resumed or finished."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import socket
import sys
import time
import traceback
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from gtp_fast.errors import UserError
from gtp_fast.runs import Run, checkpoint, plain
from gtp_fast.runs.lock import Hold, InUse
from gtp_fast.training import sized, start
from gtp_fast.training.config import RESUMABLE, Command
from gtp_fast.training.options import RunConfig
from gtp_fast.training.trainer import Trainer

State = Literal["waiting", "finished", "failed", "stopped"]
_RETURNED = ("config.yaml", "summary.json", "evaluations.npz")
_AGAIN = tuple(name for name in RESUMABLE if name != "dataset")
"""Options that a job may have otherwise when it goes on: its data decide the result."""
_ELSEWHERE = (*_AGAIN, "output", "preset", "task", "agent", "seeds", "steps", "episodes")
"""Options that change no result, or that `facts` holds resolved."""
_YOUNGER: dict[str, Any] = {"weight_decay": 0.0}
"""Settings added since the first sweeps, with the value that changes nothing: it renames no job."""
_PATIENCE = 120.0
"""Seconds that a job waits for its folder: the process of a lost machine may outlive it a while."""
_UNSAID = 1.0
"""Seconds of waiting for a folder that need no words: another command notes a run in it."""


@dataclass(frozen=True)
class Job:
    """The resolved settings of a run, and the folder it has for itself.

    folder: None for a new one with a date, in the output folder of the settings.
    """

    command: Command
    folder: Path | None = None

    @property
    def home(self) -> Path:
        """The folder it has for itself, as every job of a sweep does."""
        assert self.folder is not None
        return self.folder

    @property
    def log(self) -> Path:
        """Folder of its output and its lock, next to the run's."""
        return self.home.parent / "logs" / self.home.name


@dataclass(frozen=True)
class Result:
    """What a job came to, small enough for the wire."""

    name: str
    state: State
    reason: str = ""
    """One sentence on a failure."""
    trace: str = ""
    """Traceback of a failure that is no UserError."""
    begun: int = 0
    """Updates that were done before; all of them where the run was finished."""
    seconds: float = 0.0
    where: str = ""
    """Name of the machine."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Configuration, summary and evaluations of its run folder, by name, compressed by zlib."""

    def write(self, folder: Path) -> None:
        """Write its files into a folder, unless the run itself stands there."""
        if not self.files or Run(folder).checkpoints.is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(zlib.decompress(content))


def updates(command: Command) -> int:
    """Return the updates of a run."""
    return command.run.steps or command.task.updates


def facts(command: Command) -> dict[str, Any]:
    """Return all that decides the result of a run, resolved, as plain values.

    An option of the run counts where it differs from its default.
    """
    run, default, task = command.run, RunConfig(), command.task
    steps = updates(command)
    given = {
        one.name: getattr(run, one.name)
        for one in dataclasses.fields(RunConfig)
        if one.name not in _ELSEWHERE and getattr(run, one.name) != getattr(default, one.name)
    }
    # `env` may be given to a run that goes on, but a new one is judged by it.
    given |= {} if run.env is None else {"env": run.env}
    settings = dataclasses.asdict(command.agent)
    older = {key: value for key, value in settings.items() if _YOUNGER.get(key, ...) != value}
    content: dict[str, Any] = plain({
        "task": task.facts(), "agent": run.agent, "seeds": run.seeds, "steps": steps,
        "episodes": run.episodes or task.episodes(steps), "options": given,
        "rules": dataclasses.asdict(command.rules), "settings": older,
    })  # fmt: skip
    # Jobs without a width keep the names of older sweeps, so those with the default one change.
    content |= {"width": "asked for"} if sized.pinned(command) else {}
    # A flat file loses these rules of a task unless they are asked for, which makes another job.
    own = {
        key: value
        for key, value in command.asked_rules.items()
        if key in ("goal", "cut_at_goal") and value == getattr(task.rules, key)
    }
    return content | ({"asked_rules": own} if own and run.dataset else {})


def name(command: Command) -> str:
    """Return the name of a job's folder: task, agent and the digest of its facts."""
    digest = checkpoint.config_digest(facts(command))[:12]
    return f"{command.task.name}-{command.run.agent}-{digest}"


def finished(run: Run) -> bool:
    """Return whether a run has done all its updates, and its evaluation where it has one."""
    last = checkpoint.last(run)
    if last is None or checkpoint.load(last).step < run.config()["steps"]:
        return False
    return not unfinished(run)


def unfinished(run: Run) -> str:
    """Return what a run that has ended lacks, and the mend; empty where it lacks nothing."""
    if run.summary() or run.config().get("evaluation", {}).get("environment") is None:
        return ""
    return f"{run} has ended without summary.json, where its scores belong: repeat the command."


def trainer(job: Job) -> Trainer:
    """Return the trainer of a job: it goes on where the folder has a checkpoint, else begins.

    Raises UserError where another process trains in the folder.
    """
    if job.folder is None or not job.folder.exists():
        return start.start(job.command, folder=job.folder)
    run = Run(job.folder)
    if (run.path / "config.yaml").exists() and checkpoint.last(run):
        again = {key: getattr(job.command.run, key) for key in _AGAIN}
        return start.resume(RunConfig(**again | {"resume": str(run)}))
    # A run that ended before its first checkpoint has nothing to go on from.
    Hold(run).release()
    shutil.rmtree(run.path)
    return start.start(job.command, folder=job.folder)


def held(folder: Path, wait: float = 0.0) -> Hold:
    """Make the folder of a study or of a job's log and hold it; UserError where that fails.

    wait: seconds for another command in it to end; one that is long is announced on stderr.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made ({error.strerror}): choose another --output."
        ) from error
    try:
        return Hold(Run(folder), min(wait, _UNSAID))
    except InUse as error:
        if wait > _UNSAID:
            print(
                f"waiting up to {wait:g} seconds for {error.holder}, which works in {folder}",
                file=sys.stderr,
                flush=True,
            )
    try:
        return Hold(Run(folder), max(0.0, wait - _UNSAID))
    except InUse as error:
        raise UserError(
            f"Another command ({error.holder}) works in {folder}: wait for its end, or stop it "
            "first."
        ) from error


def run(job: Job) -> Result:
    """Do a job to its end, in whatever process: what fails becomes part of the result."""
    found, began, begun = Run(job.home), time.perf_counter(), 0
    if job.command.run.device == "cpu":
        torch.set_num_threads(1)
    state: State = "failed"
    reason, trace = "", ""
    try:
        with _alone(job):
            code, begun = (0, updates(job.command)) if _is_finished(found) else _trained(job)
        reason = "" if code else unfinished(found)
        state = "stopped" if code else "failed" if reason else "finished"
    except UserError as error:
        reason = str(error)
    except Exception as error:
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        trace = traceback.format_exc()
    seconds, where = time.perf_counter() - began, socket.gethostname()
    return Result(found.path.name, state, reason, trace, begun, seconds, where, files(found))


def files(run: Run) -> dict[str, bytes]:
    """Return what a result brings of a run folder."""
    places = (run.path / name for name in _RETURNED)
    return {place.name: zlib.compress(place.read_bytes()) for place in places if place.exists()}


def _trained(job: Job) -> tuple[int, int]:
    """Train; return the exit code and the updates that were done before."""
    found = trainer(job)
    return found.train(), found.start


def _is_finished(run: Run) -> bool:
    return (run.path / "config.yaml").exists() and finished(run)


@contextlib.contextmanager
def _alone(job: Job) -> Iterator[None]:
    """Hold a job against all other processes; what it prints goes into its log."""
    hold = held(job.log, _PATIENCE)
    try:
        with (
            (job.log / "output.txt").open("a") as said,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            yield
    finally:
        hold.release()
