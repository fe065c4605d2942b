"""From a task or a --dataset value to files: found here, downloaded, or reported missing."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gtp_fast.data import files, lerobot, ogbench_files, robomimic
from gtp_fast.data import minari as minari_source
from gtp_fast.environments import ogbench_names
from gtp_fast.errors import UserError, first_line
from gtp_fast.system.files import expanded
from gtp_fast.tasks import Task

Kind = Literal["minari", "flat", "robomimic", "lerobot"]
_FLAT = (".hdf5", ".h5", ".npz", ".gz")


@dataclass(frozen=True)
class Source:
    """One dataset: a Minari folder, a flat file, or data in memory."""

    kind: Kind
    path: Path
    name: str
    data: Any = None
    """Arrays by name or a `minari.MinariDataset`, where the data come from memory."""

    @property
    def contents(self) -> list[Path]:
        """The files that identify the content by their size and modification time."""
        if self.path.is_file():
            return [self.path]
        own = ("data",) if self.kind == "minari" else ("meta", "data")
        return sorted(file for part in own for file in (self.path / part).rglob("*.*"))


def root() -> Path:
    """Minari's dataset folder: MINARI_DATASETS_PATH, or Minari's default below the home folder."""
    given = os.environ.get("MINARI_DATASETS_PATH")
    return Path(given) if given else expanded("~/.minari/datasets", "MINARI_DATASETS_PATH")


def find(task: Task, dataset: Any) -> tuple[Source, ...]:
    """Return the sources to load, downloaded when need be; several ('+') are to be joined.

    dataset: an id, a path, a dict of arrays, or a `minari.MinariDataset`; None for the task's own.
    """
    if task.family == "ogbench":
        path = ogbench_files.located(ogbench_names.find(task.name), dataset)
        return (Source("flat", path, path.name),)
    if isinstance(dataset, Mapping):
        return (Source("flat", Path(), "arrays", dict(dataset)),)
    if hasattr(dataset, "iterate_episodes"):
        return (Source("minari", Path(), str(dataset.spec.dataset_id), dataset),)
    if dataset is not None:
        if not isinstance(dataset, str | os.PathLike):
            raise UserError(
                f"an object of type {type(dataset).__name__} is no dataset: give an id, a path, a"
                " dict of arrays or a minari.MinariDataset"
            )
        whole = str(dataset)
        joined = "+" in whole and not Path(whole).suffix and not Path(whole).exists()
        return tuple(_given(task, part) for part in (whole.split("+") if joined else [whole]))
    if not task.datasets:
        raise UserError(f"{task.name} has no dataset of its own; give one by --dataset")
    for ids in task.datasets:
        if all(minari_source.is_dataset(root() / one) for one in ids):
            return tuple(_minari(one) for one in ids)
    return tuple(_fetched(task, one) for one in task.datasets[-1])


def _given(task: Task, dataset: str) -> Source:
    path = expanded(dataset)
    if path.is_file():
        return _file(path)
    if path.suffix.lower() in _FLAT:
        raise files.absent(path)
    if minari_source.is_dataset(path):
        return Source("minari", path, path.name)
    if lerobot.is_lerobot(path):
        return Source("lerobot", path, path.name)
    if minari_source.is_dataset(root() / dataset):
        return _minari(dataset)
    if path.exists() or path.is_absolute() or path.suffix:
        raise UserError(
            f"{path} is no dataset: --dataset takes a Minari id or folder, a LeRobot folder, an"
            " .hdf5 or an .npz"
        )
    return _fetched(task, dataset)


def _file(path: Path) -> Source:
    """Return the source of a file, told by its content."""
    files.content(path)
    if any(name.startswith("episode_") for name in files.groups(path)):
        raise UserError(
            f"{path} is the inside of a Minari dataset: give its folder, {path.parent.parent}"
        )
    return Source("robomimic" if robomimic.is_robomimic(path) else "flat", path, path.name)


def _minari(dataset_id: str) -> Source:
    return Source("minari", root() / dataset_id, dataset_id)


def _fetched(task: Task, dataset_id: str) -> Source:
    reason = "it is made locally, not downloaded"
    if not dataset_id.startswith("local/"):
        reason = _download(dataset_id)
        if minari_source.is_dataset(root() / dataset_id):
            return _minari(dataset_id)
    raise UserError(_missing(task, dataset_id, reason))


def _download(dataset_id: str) -> str:
    """Try Minari's download, which may fail in any way; returns the reason when it does."""
    print(f"fetching {dataset_id} with minari", file=sys.stderr)
    # Without a network its client reports every one of its own retries.
    logging.disable(logging.WARNING)
    try:
        import minari

        with contextlib.redirect_stdout(io.StringIO()):
            minari.download_dataset(dataset_id)
    except (Exception, SystemExit) as error:
        return f"the download failed: {first_line(error)[:120]}"
    finally:
        logging.disable(logging.NOTSET)
    return "the download left nothing"


def _missing(task: Task, dataset_id: str, reason: str) -> str:
    # Elsewhere no behaviour policy is at hand, so there is nothing to collect with.
    ways = [f"python -m gtp_fast.collect {task.name}"] * task.goal_reaching + ["--dataset PATH"]
    if not dataset_id.startswith("local/"):
        ways.insert(0, f"minari download {dataset_id}")
    local = task.local_dataset
    if dataset_id != local and minari_source.is_dataset(root() / local):
        ways.append(f"--dataset {local} (made locally, already here)")
    return (
        f"dataset {dataset_id} is not in {root()} ({reason});"
        f" get one by any of these: {'; '.join(ways)}"
    )
