"""A genuine Minari dataset out of collected episodes, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gtp_fast.collect.buffers import Stored
from gtp_fast.collect.plans import collection_spec, plan_of, stored_evaluation_spec
from gtp_fast.errors import UserError
from gtp_fast.evaluation.vector import make
from gtp_fast.system.files import make_writable, sweep, write_atomically
from gtp_fast.tasks import Task

SETTINGS_KEY = "gtp_fast_collect"
_SCRATCH = ".gtp_fast_"
_NAMESPACE_FILE = "namespace_metadata.json"
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def check(settings: dict[str, Any], workers: int = 1) -> None:
    """Raise UserError for numbers that nothing can be collected by."""
    if (
        min(settings["transitions"], workers) < 1
        or settings["seed"] < 0
        or not 0.0 <= settings["noise"] < math.inf
    ):
        raise UserError(
            "transitions and workers must be at least 1, the seed not negative, and the noise a"
            " number that is not negative"
        )


def reserve(task: Task, root: Path) -> None:
    """Make the folder that `write` needs; UserError where nothing can be written into it."""
    try:
        make_writable(root)
    except OSError as error:
        raise UserError(_unwritable(root / task.local_dataset, error)) from error


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """Hold the place of a dataset; wait, which stderr says, for a command that collects it.

    Afterwards the dataset may be there. The operating system frees the lock of a process that was
    killed; on a file system without locks there is none, which stderr says. Raises UserError where
    the lock's file, which stays, cannot be written.
    """
    lock = FileLock(place.with_name(f".{place.name}.lock"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _hold(lock, place)
    except OSError as error:
        raise UserError(_unwritable(place, error)) from error
    try:
        yield
    finally:
        lock.release()


def _hold(lock: FileLock, place: Path) -> None:
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"waiting for another command that collects {place}", file=sys.stderr, flush=True)
            lock.acquire()
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _WITHOUT_LOCKS:
            raise
        print(
            f"note: the file system of {place} has no locks: of two commands that collect it at a "
            "time one fails at its end.",
            file=sys.stderr,
        )


def write(task: Task, episodes: list[Stored], settings: dict[str, Any], root: Path) -> Path:
    """Write the dataset below `root` under the task's local id; returns its folder.

    Raises UserError when the folder cannot be written, leaving nothing behind.
    """
    # Minari joins a relative folder twice.
    root = root.absolute()
    folder = root / task.local_dataset
    try:
        root.mkdir(parents=True, exist_ok=True)
        sweep(root, f"{_SCRATCH}*")
        # In the same file system, so that moving it is one rename.
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=root) as scratch:
            made = Path(scratch)
            with _datasets_path(made):
                _create(task, episodes, settings)
            _move(made, root, task.local_dataset)
    except OSError as error:
        raise UserError(_unwritable(folder, error)) from error
    return folder


def _unwritable(folder: Path, error: OSError) -> str:
    return (
        f"{folder} cannot be written ({error.strerror or error});"
        " free some space or choose another folder with --output"
    )


def describe(task: Task, settings: dict[str, Any]) -> str:
    """One paragraph on how the data were made, stored with them."""
    return (
        f"Made locally by gtp_fast, not the official data of any name: {settings['transitions']}"
        f" steps in {task.environment}, {plan_of(task).algorithm}, Gaussian action noise"
        f" {settings['noise']}, seed {settings['seed']}. Never compare a score"
        " trained on them with a published one."
    )


def _create(task: Task, episodes: list[Stored], settings: dict[str, Any]) -> None:
    import minari
    from minari.data_collector import EpisodeBuffer

    environment = make(collection_spec(task), checked=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = minari.create_dataset_from_buffers(
            dataset_id=task.local_dataset,
            buffer=[EpisodeBuffer(id=i, **episode) for i, episode in enumerate(episodes)],
            env=environment,
            eval_env=stored_evaluation_spec(task),
            algorithm_name=plan_of(task).algorithm,
            author="gtp_fast local data",
            author_email="none@example.org",
            code_permalink="gtp_fast/collect",
            description=describe(task, settings),
            requirements=["gymnasium-robotics>=1.4.1", "mujoco>=3.1.1"],
        )
    # Given as arguments, these would be dropped or would build one more environment.
    scores = dict(zip(("ref_min_score", "ref_max_score"), task.reference or (), strict=False))
    dataset.storage.update_metadata({**scores, SETTINGS_KEY: settings})
    environment.close()


def _move(made: Path, root: Path, dataset_id: str) -> None:
    parts = dataset_id.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        namespace = Path(*parts[:depth])
        (root / namespace).mkdir(exist_ok=True)
        note = root / namespace / _NAMESPACE_FILE
        if not note.exists():
            write_atomically(note, (made / namespace / _NAMESPACE_FILE).read_bytes())
    os.rename(made / dataset_id, root / dataset_id)


@contextlib.contextmanager
def _datasets_path(root: Path) -> Iterator[None]:
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before
