"""Loading a dataset into one resident table: read afresh, from our cache, by Minari's iterator."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from benchmarks import synthetic
from benchmarks.stage import Stage
from benchmarks.workload import Results, Row, Subject, Workload, in_turns

MINARI = Row("minari iterate_episodes", "eager")
FRESH, CACHED = Row("ours fresh", "ours"), Row("ours cached", "ours")
TASK = "antmaze-large-diverse"


class Load(Workload):
    """A dataset of AntMaze's shape; files come from the page cache, as in a second run."""

    plain = MINARI

    def __init__(self, root: Path, transitions: int):
        self.root = root
        self.group = f"loading {transitions:,} transitions"
        width = 2 * (synthetic.OBSERVATIONS + 4) + synthetic.ACTIONS + 2
        self.facts = {"dtype": "float32", "shape": [transitions, width], "num_candidates": 1}
        self.folder = synthetic.make(root, transitions)

    def exact(self) -> Results:
        """Keep the rows in the float64 they are stored in."""
        return {"rows": self._iterate(np.float64)}

    def build(self, row: Row) -> Subject:
        """Take Minari's iterator, or our loader without and with its cache."""
        if row == MINARI:
            run: Callable[[], Tensor] = lambda: self._iterate(np.float32)  # noqa: E731
            return Subject(run, {"rows": run()}, "episodes one by one, the same rules in NumPy")

        from gtp_fast.data import load_table

        def load() -> Tensor:
            with mock.patch.dict(os.environ, GTP_FAST_CACHE=str(self.root / "cache")):
                return load_table(TASK, self.folder, use_cache=row == CACHED).rows

        load()
        return Subject(load, {"rows": load()})

    def _iterate(self, dtype: DTypeLike) -> Tensor:
        import minari

        with mock.patch.dict(os.environ, MINARI_DATASETS_PATH=str(self.root)):
            dataset = minari.load_dataset(synthetic.DATASET)
            return torch.from_numpy(
                np.concatenate([_transitions(e, dtype) for e in dataset.iterate_episodes()])
            )


def _transitions(episode: Any, dtype: DTypeLike) -> NDArray[Any]:
    """Return the rows of one episode, cut at its first success.

    The success is terminal: reward 0 there, -1 before.

    """
    observed = episode.observations
    states = np.concatenate([observed[key] for key in synthetic.KEYS], 1).astype(dtype)
    distance = np.linalg.norm(observed["achieved_goal"][1:] - observed["desired_goal"][1:], axis=1)
    reached = distance <= synthetic.RADIUS
    end = int(reached.argmax()) + 1 if reached.any() else len(reached)
    reached = reached[:end, None]
    columns = (states[:end], episode.actions[:end], reached - 1.0, states[1 : end + 1], ~reached)
    return np.concatenate(columns, 1, dtype=dtype, casting="unsafe")


@pytest.fixture(scope="module")
def load(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Load:
    pytest.importorskip("minari", reason="needs minari: not installed here")
    return Load(tmp_path_factory.mktemp("data"), request.config.getoption("--transitions"))


@in_turns(("load",), (MINARI, FRESH, CACHED))
def test_load(benchmark: Any, stage: Stage, load: Load, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, load, row)
