"""A trained policy as files that run without gtp_fast: C++, ONNX and torch.export."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from gtp_fast import policy
from gtp_fast.agents.acting import ActBy
from gtp_fast.errors import UserError
from gtp_fast.export import check, programs
from gtp_fast.export.check import Difference
from gtp_fast.policy import file as packed
from gtp_fast.policy import restore
from gtp_fast.system.files import sweep, sync_folder, unwritable

FORMATS = ("cpp", "onnx", "pt2")
SOURCES = ("gtp_policy.hpp", "example.cpp")
_FILES = {"cpp": ("policy.gtp", *SOURCES), "onnx": ("policy.onnx",), "pt2": ("policy.pt2",)}


class Exported(NamedTuple):
    """Files of an export, the differences of their actions, and formats left out.

    allowed: the largest error that rounding explains in one of the formats.
    """

    folder: Path
    packed: packed.Packed
    differences: dict[str, Difference]
    allowed: float
    skipped: dict[str, str]


def export(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    seed_index: int = 0,
    checkpoint: str = "last",
    weights: str | None = None,
    k: int | None = None,
    noise_scale: float | None = None,
    act_by: ActBy | None = None,
    formats: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a run's policy into the folder `out`, whole or not at all.

    noise_scale, act_by: as for `gtp_fast.load`; None as the run was evaluated. formats: some of
    `cpp`, `onnx`, `pt2`; None takes all that are available and reports the others.
    overwrite: replace the folder of an earlier export. UserError when a named format is not
    available, when a file's actions differ from the policy's by more than rounding, or when the
    folder cannot be written.
    """
    for name in formats or ():
        if name not in FORMATS:
            raise UserError(f"Unknown format {name!r}: choose among {', '.join(FORMATS)}.")
    folder = Path(os.path.abspath(out))
    _recover(folder)
    _check_target(folder, overwrite)
    chosen, skipped = list(formats or FORMATS), {}
    if "onnx" in chosen and (missing := programs.onnx_missing()):
        if formats:
            raise UserError(f"{missing}.")
        chosen.remove("onnx")
        skipped["onnx"] = missing
    restore.check_acting(weights, k, None, noise_scale, act_by=act_by)
    agent, saved = restore.restore(run, checkpoint)
    index = restore.index_of(agent, saved, seed_index)
    content = restore.pack(agent, saved, index, weights, k, noise_scale, act_by)
    hidden = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    sweep(folder.parent, f".{glob.escape(folder.name)}.*.tmp")
    try:
        hidden.mkdir(parents=True)
        differences, allowed = _write(content, hidden, chosen)
        _replace(hidden, folder)
    except OSError as error:
        raise UserError(unwritable(folder, error)) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return Exported(folder, content, differences, allowed, skipped)


def _write(
    content: packed.Packed, folder: Path, formats: Sequence[str]
) -> tuple[dict[str, Difference], float]:
    """Write and check every format; UserError for one that acts otherwise."""
    data = packed.pack(content)
    trial = check.trial(content, policy.Policy(content))
    differences, largest = {}, 0.0
    for name in formats:
        path, allowed = folder / _FILES[name][0], trial.allowed
        if name == "cpp":
            allowed = trial.drawn
            path.write_bytes(data)
            for source in SOURCES:
                text = resources.files("gtp_fast.export").joinpath("files", source).read_text()
                (folder / source).write_text(text)
            actions = policy.load(path).act(trial.observation, check.SEED)
        else:
            save, run = (getattr(programs, f"{verb}_{name}") for verb in ("save", "run"))
            save(content, path)
            actions = run(path, trial.observation, trial.noise)
        found = differences[name] = check.difference(actions, trial)
        largest = max(largest, allowed)
        if not found.exact <= allowed:
            raise UserError(
                f"{path.name} acts otherwise than the policy: its actions are off by "
                f"{found.exact:.1e}, and rounding explains {allowed:.1e}; nothing was "
                "written. Leave the format out with --formats, and report it."
            )
    return differences, largest


def _recover(folder: Path) -> None:
    """Give an earlier export its name back that a kill left moved aside."""
    for aside in folder.parent.glob(f".{glob.escape(folder.name)}.*.old"):
        with contextlib.suppress(OSError):
            if folder.exists():
                shutil.rmtree(aside)
            else:
                aside.rename(folder)


def _check_target(folder: Path, overwrite: bool) -> None:
    """Raise UserError unless the folder is free, or an earlier export that may be replaced."""
    if not folder.exists():
        return
    if not overwrite:
        raise UserError(f"{folder} exists already: choose another folder, or add --overwrite.")
    ours = {file for files in _FILES.values() for file in files}
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder, so no export: choose another.")
    others = sorted({entry.name for entry in folder.iterdir()} - ours)
    if others:
        named = ", ".join(others[:3]) + ", ..." * (len(others) > 3)
        raise UserError(
            f"{folder} holds {named}, which are no export's, and --overwrite replaces exports only:"
            " move them away, or choose another folder."
        )


def _replace(made: Path, folder: Path) -> None:
    """Put a finished folder in its place; the one before stays until then."""
    for path in made.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    sync_folder(made)
    old = made.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    try:
        made.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
