"""Checkpoints that are whole or absent: checkpoints/step_000012000/{state.safetensors, state.json}.

Written into a hidden folder, flushed, renamed. `best.json` names the best one, which is never
pruned. state.json holds the step, the run's configuration with its digest, the digest and shapes of
the tensors, and whatever the caller adds, so a checkpoint can be used away from its run folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from gtp_fast.errors import UserError
from gtp_fast.runs import Run, plain
from gtp_fast.system.files import sync_folder, write_atomically, write_durably

if TYPE_CHECKING:
    from gtp_fast.agents.base import Agent

_PREFIX = "step_"
_BEST = "best.json"


class Best(NamedTuple):
    """The checkpoint that was marked best, and the mean score it was marked for."""

    path: Path
    step: int
    score: float


class Checkpoint(NamedTuple):
    """A checkpoint; tensors lie on the CPU, meta is what the caller of `save` added."""

    path: Path
    step: int
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    def restore(self, agent: Agent) -> None:
        """Put the tensors into an agent; UserError naming this checkpoint when they do not fit."""
        try:
            agent.load_state_dict(self.tensors)
        except UserError as error:
            raise UserError(f"{self.path} does not fit: {error}") from error


def save(
    run: str | os.PathLike[str],
    step: int,
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    keep: int | Literal["all"] = 2,
) -> Path:
    """Save the state after `step` updates; return its folder.

    Deletes older checkpoints but the last `keep` and the best, or none for keep "all". UserError
    when the disk refuses; then every earlier checkpoint stays and nothing half-written is left.
    """
    folder = Run(Path(run)).checkpoints
    final = folder / f"{_PREFIX}{step:09d}"
    hidden, replaced = folder / f".{final.name}.tmp", folder / f".{final.name}.old"
    config = Run(Path(run)).config()
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    data = safetensors.torch.save(copies)
    state = {
        "step": step,
        "config_digest": config_digest(config),
        "tensors_digest": _digest(data),
        "tensors": {
            name: [str(t.dtype).removeprefix("torch."), list(t.shape)] for name, t in copies.items()
        },
        "meta": plain(meta),
        "config": config,
    }
    state["digest"] = _digest(_canonical(state))
    try:
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(parents=True)
        write_durably(hidden / "state.safetensors", data)
        write_durably(hidden / "state.json", (json.dumps(state, indent=1) + "\n").encode())
        if final.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            final.rename(replaced)
        hidden.rename(final)
        sync_folder(folder)
    except OSError as error:
        left = last(run)
        mend = f"the last good checkpoint is {left}" if left else "no checkpoint has been saved yet"
        raise UserError(
            f"The checkpoint {final} could not be saved ({error.strerror or error}): "
            f"free some space or make the folder writable; {mend}."
        ) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)
    if keep != "all":
        _prune(folder, keep)
    return final


def mark_best(run: str | os.PathLike[str], checkpoint: Path, score: float) -> None:
    """Name a saved checkpoint the best of its run; it will outlive the pruning."""
    note = {"checkpoint": checkpoint.name, "score": float(score)}
    write_atomically(Run(Path(run)).checkpoints / _BEST, json.dumps(note) + "\n")


def last(run: str | os.PathLike[str]) -> Path | None:
    """Return the newest checkpoint of a run, or None."""
    found = _saved(Run(Path(run)).checkpoints)
    return found[-1] if found else None


def last_good(run: str | os.PathLike[str]) -> str:
    """Return where a run that failed can go on from, as a clause of a sentence."""
    path = last(run)
    return f"the last good checkpoint is {path}" if path else "no checkpoint was saved"


def best(run: str | os.PathLike[str]) -> Path | None:
    """Return the checkpoint that was marked best, or None."""
    found = marked(run)
    return None if found is None else found.path


def marked(run: str | os.PathLike[str]) -> Best | None:
    """Return what `mark_best` wrote, or None; UserError where it cannot be read."""
    folder = Run(Path(run)).checkpoints
    try:
        note = json.loads((folder / _BEST).read_text())
        name = str(note["checkpoint"])
        return Best(folder / name, int(name.removeprefix(_PREFIX)), float(note["score"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{folder / _BEST} cannot be read: delete it and use --checkpoint last."
        ) from error


def find(path: str | os.PathLike[str], which: str = "last") -> Path:
    """Return a checkpoint folder: the `last` or `best` of a run folder, or `path` itself.

    which: also a path, or the name of one of the run's. UserError when there is no such checkpoint.
    """
    # An update's number from Python, too, is a name that the sentence can answer.
    folder, which = Path(path), str(which)
    if folder.name in ("state.json", "state.safetensors"):
        folder = folder.parent
    if folder.name.startswith(_PREFIX):
        _recover(folder.parent)
        if not folder.is_dir():
            raise _absent(folder, folder.parent)
        return folder
    if (folder / "state.json").exists():
        return folder
    if folder.is_file():
        raise UserError(f"{folder} is a file, and no run folder or checkpoint: name one.")
    if not folder.is_dir():
        raise UserError(f"There is no run folder or checkpoint {folder}.")
    if which not in ("last", "best"):
        inside = Run(folder).checkpoints
        _recover(inside)
        if Path(which).name == which and (inside / which).is_dir():
            return inside / which
        if not Path(which).exists():
            raise _absent(which, inside)
        return find(which)
    found = last(folder) if which == "last" else best(folder)
    exported = folder / "policy.gtp"
    if found is None and last(folder) is None and exported.exists():
        raise UserError(
            f"{folder} is an export, without checkpoints: name the run folder, or load {exported}."
        )
    if found is None and not (folder / "config.yaml").exists():
        raise UserError(
            f"{folder} is no run folder, as it has no config.yaml: name one, or one of its "
            "checkpoints."
        )
    if found is None:
        mend = (
            "evaluations in training mark it; use the last one"
            if which == "best" and last(folder)
            else "train it first"
        )
        raise UserError(f"{folder} has no {which} checkpoint: {mend}.")
    return found


def _absent(name: object, folder: Path) -> UserError:
    there = ", ".join(path.name for path in _saved(folder))
    return UserError(
        f"There is no checkpoint {name}" + (f"; {folder.parent} has {there}." if there else ".")
    )


def load(path: str | os.PathLike[str], which: str = "last") -> Checkpoint:
    """Read a checkpoint, as `find` names it; UserError when it is cut short or altered."""
    folder = find(path, which)
    mend = "delete that folder to go on from an earlier checkpoint"
    note, weights = folder / "state.json", folder / "state.safetensors"
    try:
        state = json.loads(note.read_bytes())
        data = weights.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: {mend}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{note} cannot be read, it was cut short or altered: {mend}.") from error
    try:
        written = state.pop("digest")
        step, config, meta = int(state["step"]), dict(state["config"]), dict(state["meta"])
        weights_digest = state["tensors_digest"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{note} is no description of a checkpoint: {mend}.") from error
    for file, digest, expected in (
        (note, _digest(_canonical(state)), written),
        (weights, _digest(data), weights_digest),
    ):
        if digest != expected:
            raise UserError(
                f"{file} was cut short or altered after it was saved (its digest differs): {mend}."
            )
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError as error:
        raise UserError(f"{weights} is no safetensors file ({error}): {mend}.") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{weights}: {name} holds NaN or infinite numbers: {mend}.")
    return Checkpoint(folder, step, config, tensors, meta)


def config_digest(config: Mapping[str, Any]) -> str:
    """Return the digest of a configuration."""
    return _digest(_canonical(config))


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(plain(value), sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _saved(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest first; what was never renamed has another name."""
    _recover(folder)
    # `glob` would find nothing in a folder that may not be read.
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if path.name.startswith(_PREFIX) and path.is_dir())


def _recover(folder: Path) -> None:
    """Give a checkpoint its name back that a kill left moved aside."""
    for aside in folder.glob(f".{_PREFIX}*.old"):
        final = folder / aside.name[1:].removesuffix(".old")
        with contextlib.suppress(OSError):
            if final.exists():
                shutil.rmtree(aside)
            else:
                aside.rename(final)


def _prune(folder: Path, keep: int) -> None:
    spared = best(folder.parent)
    for path in _saved(folder)[:-keep]:
        if path != spared:
            shutil.rmtree(path, ignore_errors=True)
