"""From a task or a --dataset value to files: found here, downloaded, or reported missing."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gtp_fast.data import minari as minari_source
from gtp_fast.errors import UserError
from gtp_fast.tasks import Task

Kind = Literal["minari", "d4rl", "npz"]


@dataclass(frozen=True)
class Source:
    """One dataset on disk: a Minari folder, a D4RL file or an .npz."""

    kind: Kind
    path: Path
    name: str

    @property
    def content(self) -> Path:
        """The file that identifies the content by its size and modification time."""
        return minari_source.data_file(self.path) if self.kind == "minari" else self.path


def root() -> Path:
    """Minari's dataset folder: MINARI_DATASETS_PATH, or Minari's default below the home folder."""
    given = os.environ.get("MINARI_DATASETS_PATH")
    return Path(given) if given else Path.home() / ".minari" / "datasets"


def find(task: Task, dataset: str | Path | None) -> tuple[Source, ...]:
    """The files to load, downloaded when need be; several ('+') are to be concatenated."""
    if dataset is not None:
        whole = str(dataset)
        joined = "+" in whole and not Path(whole).suffix and not Path(whole).exists()
        return tuple(_given(task, part) for part in (whole.split("+") if joined else [whole]))
    for ids in task.datasets:
        if all(minari_source.is_dataset(root() / one) for one in ids):
            return tuple(_minari(one) for one in ids)
    return tuple(_fetched(task, one) for one in task.datasets[-1])


def _given(task: Task, dataset: str) -> Source:
    path = Path(dataset).expanduser()
    suffix = path.suffix.lower()
    if suffix in (".hdf5", ".h5", ".npz"):
        if not path.is_file():
            raise UserError(f"there is no file {path}; check the path given as --dataset")
        return Source("npz" if suffix == ".npz" else "d4rl", path, path.name)
    if minari_source.is_dataset(path):
        return Source("minari", path, path.name)
    if minari_source.is_dataset(root() / dataset):
        return _minari(dataset)
    if path.exists() or path.is_absolute() or suffix:
        raise UserError(
            f"{path} is no dataset: --dataset takes a Minari id or folder, a D4RL .hdf5 or an .npz"
        )
    return _fetched(task, dataset)


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
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"the download failed: {first[:120]}"
    finally:
        logging.disable(logging.NOTSET)
    return "the download left nothing"


def _missing(task: Task, dataset_id: str, reason: str) -> str:
    ways = [f"python -m gtp_fast.collect {task.name}", "--dataset PATH"]
    if task.family == "locomotion":
        # No behaviour policy for these bodies is at hand, so there is nothing to collect with.
        ways = ["--dataset PATH"]
    if not dataset_id.startswith("local/"):
        ways.insert(0, f"minari download {dataset_id}")
    local = task.local_dataset
    if dataset_id != local and minari_source.is_dataset(root() / local):
        ways.append(f"--dataset {local} (made locally, already here)")
    return (
        f"dataset {dataset_id} is not in {root()} ({reason});"
        f" get one by any of these: {'; '.join(ways)}"
    )
