"""Episodes of a Minari dataset: groups of an HDF5 file, or objects of the minari package."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from h5py import h5d, h5f, h5g, h5s, h5t

from gtp_fast.data import inside
from gtp_fast.data.minari_spaces import Space
from gtp_fast.errors import UserError

_GROUP = re.compile(rb"episode_(\d+)$")


class Episodes(Protocol):
    """Episodes by position; their numbers name them in messages."""

    numbers: list[int]
    lengths: list[int]

    def fill(self, position: int, path: str, out: Any, where: str) -> Any:
        """Read one array into `out`; UserError when its shape or values do not fit."""
        ...


class Stored:
    """Episodes of an open HDF5 file, in numeric order; gaps in the numbering are allowed."""

    def __init__(self, path: Path, numbers: Sequence[int] | None = None) -> None:
        self._path = path
        self._file = h5f.open(str(path).encode(), h5f.ACC_RDONLY)
        self._own = inside.number(self._file)
        if numbers is None:
            found = (_GROUP.match(link) for link in h5g.open(self._file, b"/"))
            numbers = sorted(int(match[1]) for match in found if match)
        self.numbers = list(numbers)
        self._groups = [h5g.open(self._file, b"episode_%d" % number) for number in self.numbers]
        actions = [h5d.open(group, b"actions") for group in self._groups]
        self.lengths = [inside.sized(one, f"{path.name}: actions").shape[0] for one in actions]

    def fill(self, position: int, path: str, out: Any, where: str) -> Any:
        """Read one array straight into `out`."""
        stored = h5d.open(self._groups[position], path.encode())
        inside.sized(inside.checked(stored, self._own, f"{where}: {path}"), f"{where}: {path}")
        shape = stored.shape
        _check_shape(where, path, shape, out.shape)
        # Truth values are an enumeration in HDF5, which no number can be converted to.
        if out.dtype == np.bool_ and stored.get_type().get_class() != h5t.ENUM:
            values = np.empty(shape, stored.dtype)
            stored.read(h5s.ALL, h5s.ALL, values)
            out[:] = _flags(values, path, where).reshape(out.shape)
        else:
            stored.read(h5s.ALL, h5s.ALL, out.reshape(shape))
        return out

    def observation_space(self) -> Space:
        """Return the space that the arrays of the first episode imply."""
        if not self.numbers:
            return {"type": "Dict", "subspaces": {}}
        with h5py.File(self._path, "r") as file:
            return _space_of(file[f"episode_{self.numbers[0]}/observations"])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Loaded:
    """Episodes that the minari package has read, reduced to the arrays under `paths`."""

    def __init__(self, episodes: Iterable[Any], paths: Iterable[str]) -> None:
        wanted = tuple(paths)
        self.numbers, self.lengths = [], []
        self._arrays: list[dict[str, Any]] = []
        for episode in episodes:
            self.numbers.append(int(episode.id))
            self._arrays.append({path: np.asarray(_below(episode, path)) for path in wanted})
            self.lengths.append(len(self._arrays[-1]["actions"]))

    def fill(self, position: int, path: str, out: Any, where: str) -> Any:
        """Copy one array into `out`."""
        values = self._arrays[position][path]
        _check_shape(where, path, values.shape, out.shape)
        if out.dtype == np.bool_:
            values = _flags(values, path, where)
        out[...] = values.reshape(out.shape)
        return out


def _check_shape(where: str, path: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted and not (len(wanted) == 1 and found == (*wanted, 1)):
        raise UserError(
            f"{where}: {path} has shape {found} where {wanted} is expected"
            " (one more observation than actions); the dataset is damaged, fetch it again"
        )


def _flags(values: Any, path: str, where: str) -> Any:
    nan = values.dtype.kind == "f" and np.isnan(values).any()
    if nan or values.dtype.kind not in "biuf":
        raise UserError(
            f"{where}: {path} holds {'NaN' if nan else values.dtype};"
            " write 1 where the episode terminates and 0 elsewhere"
        )
    return values != 0


def _below(episode: Any, path: str) -> Any:
    first, *keys = path.split("/")
    found = getattr(episode, first)
    for key in keys:
        found = found[key]
    return found


def _space_of(stored: Any) -> Space:
    if isinstance(stored, h5py.Group):
        return {"type": "Dict", "subspaces": {k: _space_of(stored[k]) for k in stored}}
    kind = "Box" if stored.dtype.kind in "fiu" else "sequence"
    return {"type": kind, "shape": list(stored.shape[1:]), "dtype": str(stored.dtype)}
