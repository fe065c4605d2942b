"""Arrays of a flat file: .npz and .hdf5, compressed by gzip or not, told apart by content."""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from gtp_fast.data import aliases, inside, rlds
from gtp_fast.errors import UNREADABLE, UserError, untrusted

Arrays = dict[str, NDArray[Any]]
Content = Literal["npz", "hdf5"]
_MAGIC: tuple[tuple[bytes, Content], ...] = ((b"PK\x03\x04", "npz"), (b"\x89HDF\r\n\x1a\n", "hdf5"))
_GZIP = b"\x1f\x8b"
_ACCEPTED = "a flat file is an .npz or an .hdf5, compressed by gzip or not"


def absent(path: Path) -> UserError:
    """Return the error of a file that is not there."""
    if path.is_absolute():
        return UserError(
            f"there is no file {path}: check the path given as --dataset; for a run that has moved,"
            " say by it where its data lie now"
        )
    return UserError(
        f"there is no file {path} in {Path.cwd()}: check the path given as --dataset; for a run"
        " that was started elsewhere, say by it where its data lie now"
    )


def content(path: Path) -> Content:
    """Return the format of a file by its first bytes; UserError for any other."""
    start = _start(path)
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return kind
    if not start:
        raise UserError(f"{path} is empty; fetch or write it again")
    raise UserError(f"{path} is truncated or of no format that is read here: {_ACCEPTED}")


def read(path: Path) -> Arrays:
    """Return the arrays of a file that have a known name, under the canonical one."""
    damaged = f"{path} is truncated or holds something else than plain arrays"
    with untrusted(damaged, "fetch or write it again"):
        packed, kind = _packed(path), content(path)
        place: Any = io.BytesIO(gzip.decompress(path.read_bytes())) if packed else path
        if kind == "hdf5" and not packed:
            inside.check_open(path)
        arrays = _of_npz(path, place) if kind == "npz" else _of_hdf5(path, place)
    return arrays


def _of_npz(path: Path, place: Any) -> Arrays:
    with np.load(place, allow_pickle=False) as file:

        def held(name: str) -> Any:
            check_npz(file, name)
            return file[name]

        return named(path.name, file.files, held)


def _of_hdf5(path: Path, place: Any) -> Arrays:
    with h5py.File(place, "r") as file:
        own, present = inside.number(file.id), []
        for key in file:
            if isinstance(file.get(key), h5py.Dataset):
                inside.checked(file[key].id, own, f"{path}: {key}")
                present.append(key)

        def held(name: str) -> Any:
            # No array may promise far more than its compressed bytes can hold.
            inside.sized(file[name].id, f"{path.name}: {name}")
            return file[name][()]

        return named(path.name, present, held)


def groups(path: Path) -> list[str]:
    """Return the groups at the root of an HDF5 file; none of other files."""
    try:
        with h5py.File(path, "r") as file:
            return [key for key in file if isinstance(file.get(key), h5py.Group)]
    except UNREADABLE:
        return []


def check_npz(file: Any, name: str) -> None:
    """Raise ValueError where a member's header promises more than the member holds."""
    with file.zip.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        reads = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
        shape, _, kind = reads[version[0] > 1](member)
    if math.prod(shape) * kind.itemsize > file.zip.getinfo(f"{name}.npy").file_size:
        raise ValueError(f"{name} promises {shape} numbers and holds fewer")


def of_memory(name: str, data: Mapping[str, Any]) -> Arrays:
    """Return the arrays of a dict that have a known name, under the canonical one.

    name: of the dataset. Raises UserError for what NumPy cannot make an array of numbers of.
    """

    def held(key: str) -> Any:
        wrong = f"{name}: {key} is no array of numbers"
        with untrusted(wrong, "give all rows as one NumPy array, episodes one after the other"):
            array = np.asarray(data[key])
        return array

    return named(name, data, held)


def named(name: str, present: Iterable[str], held: Callable[[str], Any]) -> Arrays:
    """Return the arrays that have a known name, under the canonical one.

    name: of the dataset; held: gives an array by its own name. Of `done` beside timeouts only
    terminal states stay terminal. `is_first` with `is_terminal` marks the steps of RLDS. Raises
    UserError for such steps where zeros of `discount` alone could tell a terminal state.
    """
    present = list(present)
    own = aliases.chosen(name, present)
    arrays = {canonical: np.asarray(held(key)) for canonical, key in own.items()}
    if own.get("terminals") in aliases.DONE and "timeouts" in arrays:
        arrays["terminals"] = _terminal(arrays["terminals"], arrays["timeouts"])
    if {"is_first", "is_terminal"} <= set(own.values()) and "last_steps" not in arrays:
        arrays["last_steps"] = rlds.last_of(arrays["episode_starts"])
    unsaid = "last_steps" in arrays and not {"terminals", "masks"} & set(own)
    if unsaid and "discount" in present and (np.asarray(held("discount")) == 0).any():
        # Some writers give the last step of a truncated episode a discount of 0 as well.
        raise UserError(
            f"{name} has is_last and discount but no is_terminal, and a discount of 0 may mark a "
            "truncated episode too: add is_terminal [N], zeros where no state is terminal"
        )
    return arrays


def _terminal(done: NDArray[Any], timeouts: NDArray[Any]) -> NDArray[Any]:
    """Return terminal states out of ends for any reason: those without a time-out."""
    if done.size != timeouts.size or timeouts.dtype.kind not in "biuf":
        return done
    # One may be [N] and the other [N, 1].
    timed_out = timeouts.astype(bool).reshape(done.shape)
    return np.where(timed_out, np.zeros_like(done), done)


def _packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def _start(path: Path) -> bytes:
    try:
        if _packed(path):
            with gzip.open(path) as file:
                return bytes(file.read(8))
        with path.open("rb") as raw:
            return raw.read(8)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        refused = isinstance(error, PermissionError)
        mend = "ask for the right to read it" if refused else "fetch or write it again"
        raise UserError(f"{path} cannot be read ({reason}); {mend}") from error
