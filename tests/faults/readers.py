"""Every file that the package reads, a sound copy of each, and what reads it."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import fake_environments
import h5py
import numpy as np
import packed_policies
import sets
from fake_runs import add_scores, make_run
from folded import Sizes
from mutate import archived, mutate, signed

import gtp_fast
from gtp_fast.data import load_table
from gtp_fast.policy import file, load
from gtp_fast.policy.restore import environment_of, restore
from gtp_fast.runs import Run, checkpoint, metrics
from gtp_fast.studies import groups, tables
from gtp_fast.tasks import find, of_dataset


class Reader(NamedTuple):
    """One kind of file: a sound copy, and a call that reads it and uses what it read."""

    name: str
    path: Path
    read: Callable[[], object]
    broken: Callable[[bytes, random.Random], bytes] = mutate
    """Makes a broken copy of its content."""


def all_readers(folder: Path, monkeypatch: Any) -> list[Reader]:
    """Return the readers with sound files below a folder, and what can be read here."""
    data = _data(folder, monkeypatch) + _ogbench(folder) + _lerobot(folder)
    return [*data, *_runs(folder), _policy(folder)]


def _table(dataset: Path, task: Any = None) -> Callable[[], object]:
    def read() -> None:
        rows = load_table(task or of_dataset("", "x"), dataset, use_cache=False).rows
        assert bool(rows.isfinite().all())

    return read


def _data(folder: Path, monkeypatch: Any) -> list[Reader]:
    arrays = sets.flat()
    np.savez(folder / "plain.npz", **arrays)
    np.savez_compressed(folder / "packed.npz", **arrays)
    with h5py.File(folder / "d4rl.hdf5", "w") as stored:
        for key, value in arrays.items():
            stored[key] = value
    with h5py.File(folder / "demos.hdf5", "w") as stored:
        demo = stored.create_group("data/demo_0")
        demo["obs/joints"], demo["actions"] = np.ones((4, 3)), np.zeros((4, 2))
        demo["rewards"], demo["dones"] = np.ones(4), np.eye(4)[3]
    episodes = [sets.walk(0, 6, 4), sets.walk(1, 5, None)]
    minari = sets.save(folder, monkeypatch, "some/walk-v0", episodes, sets.ant_space(), 8)
    files = {
        name: (folder / name, folder / name)
        for name in ("plain.npz", "packed.npz", "d4rl.hdf5", "demos.hdf5")
    }
    for name in ("main_data.hdf5", "metadata.json"):
        files[f"Minari {name}"] = (minari / "data" / name, minari)
    return [
        Reader(name, path, _table(given), archived if path.suffix == ".npz" else mutate)
        for name, (path, given) in files.items()
    ]


def _ogbench(folder: Path) -> list[Reader]:
    if find_spec("ogbench") is None:
        return []
    from ogbench_arrays import written

    name = "pointmaze-medium-navigate-singletask-v0"
    path = written(folder / "ogbench.npz", name)
    return [Reader("OGBench .npz", path, _table(path, find(name)), archived)]


def _lerobot(folder: Path) -> list[Reader]:
    if find_spec("pyarrow") is None:
        return []
    from lerobot_folders import write

    found = []
    for version, one_file in (("2", False), ("3", True)):
        dataset = write(folder / f"lerobot{version}", one_file=one_file)
        frames = sorted(dataset.glob("data/*/*.parquet"))[-1]
        found.append(Reader(f"LeRobot {version} .parquet", frames, _table(dataset)))
    return [*found, Reader("LeRobot info.json", dataset / "meta" / "info.json", _table(dataset))]


def _runs(folder: Path) -> list[Reader]:
    environment = fake_environments.spec().to_json()
    run = make_run(folder / "run", evaluation={"environment": environment})
    add_scores(run, 60, [[1.0, 2.0, 3.0]] * 2, [4, 7])
    metrics.MetricsLog(run.metrics, (4, 7)).write(5, {"loss": [1.0, 2.0]})
    run.write_summary({"data_return": 1.0, "last": {"return": [1.0, 2.0]}})
    saved = checkpoint.last(run)
    assert saved is not None

    def whole() -> None:
        agent, _ = restore(run.path)
        environment_of(run.config(), run)
        assert all(bool(x.isfinite().all()) for x in agent.state_dict().values())

    def report() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            print(tables.run_table(groups.collect([str(run)])))

    def columns() -> dict[str, Any]:
        read = gtp_fast.TrainedRun(run.path).metrics
        # A run that goes on reads it too, and drops the rows beyond its checkpoint.
        metrics.MetricsLog(run.metrics, (4, 7), resume_step=60)
        return read

    def both() -> None:
        whole()
        report()

    places = Run(run.path)
    return [
        Reader("config.yaml", run.path / "config.yaml", both),
        Reader("state.json", saved / "state.json", whole),
        Reader("state.safetensors", saved / "state.safetensors", whole),
        Reader("metrics.csv", places.metrics, columns),
        Reader("evaluations.npz", places.evaluations, report, archived),
        Reader("summary.json", run.path / "summary.json", report),
    ]


def _policy(folder: Path) -> Reader:
    path = folder / "policy.gtp"
    path.write_bytes(file.pack(packed_policies.make(Sizes(O=4, A=2, H=8, L=2, K=2))))

    def act() -> None:
        action = load(path).act(np.zeros(4, np.float32), seed=1, step=0)
        assert np.isfinite(action).all()

    return Reader("policy.gtp", path, act, signed)
