"""gtp_fast.fit: a training run from Python, by the code of the command line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gtp_fast import policy
from gtp_fast.errors import UserError, unknown
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.policy import Policy, off_policy
from gtp_fast.policy.evaluation import Options, check, evaluate
from gtp_fast.policy.results import write
from gtp_fast.runs import Run, metrics, open_run
from gtp_fast.training import config, kinds, start
from gtp_fast.training.callbacks import Callback
from gtp_fast.training.options import RunConfig

_NAME = "arrays"
"""Name of data that come from memory without one of their own."""


class TrainedRun(os.PathLike[str]):
    """A run folder and what can be done with it; also `TrainedRun(path)` of any run folder.

    environment: a live one to evaluate in, where the folder names none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        environment: gymnasium.Env[Any, Any] | None = None,
    ):
        self.run: Run = open_run(path)
        self.environment = environment

    def __fspath__(self) -> str:
        return str(self.run)

    def __str__(self) -> str:
        return str(self.run)

    def __repr__(self) -> str:
        return f"TrainedRun({str(self.run)!r})"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.run.path

    @property
    def metrics(self) -> dict[str, NDArray[np.float64]]:
        """Columns of metrics.csv, nan in empty cells; `pandas.DataFrame(run.metrics)` is tidy."""
        return metrics.read(self.run.metrics)

    @property
    def summary(self) -> dict[str, Any]:
        """Content of summary.json; empty while the run has not ended."""
        return self.run.summary()

    def policy(self, seed_index: int = 0, **options: Any) -> Policy:
        """Return the trained policy of one seed; options as for `gtp_fast.load`."""
        return policy.load(self.run, seed_index=seed_index, **options)

    def evaluate(self, episodes: int | None = None, **options: Any) -> Evaluation:
        """Play whole episodes; options: those of `gtp_fast evaluate`, by name.

        The episodes are written into RUN/evaluations too; where that is read-only, a note says so.
        Raises UserError without an environment, for an unknown option or one of another kind, for
        those of `fqe`, and for `video`, which the command alone serves.
        """
        others = {"fqe", "fqe_steps", "dataset", "video", "video_episodes"}
        if other := sorted(others & options.keys()):
            raise UserError(
                f"evaluate() plays episodes and returns them: leave {', '.join(other)} out; fqe() "
                f"judges by the data, and the command `gtp_fast evaluate {self}` takes --video."
            )
        chosen = self._options({"episodes": episodes, **options})
        record, evaluation = evaluate(chosen, None if chosen.env else self.environment)
        try:
            write(record, evaluation)
        # What was played is in memory and not lost.
        except UserError as error:
            print(f"note: the episodes are returned and not written: {error}", file=sys.stderr)
        return evaluation

    def fqe(self, dataset: Any = None, **options: Any) -> dict[str, Any]:
        """Judge the run by its dataset; return what `gtp_fast evaluate RUN --fqe` writes.

        dataset: the run's own data, where they came from memory or lie elsewhere now. options:
        those of the command, by name, such as `fqe_steps`. Raises UserError for other data, an
        unknown option, and those of episodes.
        """
        place, arrays = _told_apart(dataset)
        chosen = self._options({**options, "fqe": True, "dataset": place})
        check(chosen)
        record = off_policy.evaluate(chosen, arrays=arrays)
        off_policy.write(record)
        return record

    def _options(self, given: Mapping[str, Any]) -> Options:
        """Return the options of an evaluation; UserError for a name or a kind that is none."""
        names = [field.name for field in fields(Options) if field.name != "run"]
        for name in given:
            if name not in names:
                raise UserError(unknown(name, names))
        return Options(run=str(self.run), **kinds.checked(given, (Options,)))


def _told_apart(dataset: Any) -> tuple[str | None, Any]:
    """Return the place of a dataset, or the data themselves where they are in memory."""
    if isinstance(dataset, str | os.PathLike):
        return str(dataset), None
    return None, dataset


def fit(
    dataset: Any = None,
    *,
    agent: str | None = None,
    env: str | gymnasium.Env[Any, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    resume: str | os.PathLike[str] | None = None,
    **options: Any,
) -> TrainedRun:
    """Train an agent on a dataset and return its run folder.

    dataset: what --dataset takes, a dict of arrays, or a `minari.MinariDataset`; None with `task`.
    agent: its name, gtp by default.
    env: where to evaluate: an id, a live environment, or "none"; by default the dataset's own.
    callbacks: see `Callback`. resume: run folder to go on with, with its own settings; then dataset
    says where its data are, if they came from memory or lie elsewhere now.
    options: every other option of `gtp_fast train`, by its name with underscores, such as `task`,
    `steps`, `seeds`, `eta`. Raises UserError with one sentence for what cannot be trained;
    KeyboardInterrupt after Ctrl-C, SystemExit after SIGTERM and SIGHUP, each with a checkpoint.
    """
    if not isinstance(callbacks, Sequence) or not all(isinstance(c, Callback) for c in callbacks):
        raise UserError(
            "callbacks takes a list of objects such as [Stop()], of classes that extend "
            f"gtp_fast.Callback, not {callbacks!r:.60}."
        )
    live = env if isinstance(env, gymnasium.Env) else None
    place, arrays = _told_apart(dataset)
    if resume is not None:
        known = {key: options.pop(key) for key in config.RESUMABLE if key in options}
        if taken := [*options, *(["agent"] if agent is not None else [])]:
            raise UserError(
                "fit(resume=...) takes the settings of the run it goes on with: leave out "
                f"{', '.join(taken)}."
            )
        named = env if isinstance(env, str) else None
        known = kinds.checked(known, (RunConfig,))
        again = RunConfig(**known, env=named, resume=str(resume), dataset=place)
        trainer = start.resume(again, arrays, live, callbacks)
    else:
        given: Mapping[str, Any] = options if env is None or live is not None else {
            **options, "env": env
        }  # fmt: skip
        of_arrays = getattr(getattr(arrays, "spec", None), "dataset_id", _NAME)
        name = None if arrays is None else of_arrays
        command = config.of_keywords(place, agent or "gtp", given, name)
        trainer = start.start(command, arrays, live, callbacks)
    trainer.train()
    if trainer.received() == signal.SIGINT:
        raise KeyboardInterrupt
    if number := trainer.received():
        sys.exit(128 + number)
    return TrainedRun(trainer.run, live)
