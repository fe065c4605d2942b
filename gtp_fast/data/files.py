"""Arrays of a flat file: .npz and .hdf5, compressed by gzip or not, told apart by content."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from gtp_fast.data import aliases, inside
from gtp_fast.errors import UserError

Arrays = dict[str, NDArray[Any]]
Content = Literal["npz", "hdf5"]
_MAGIC: tuple[tuple[bytes, Content], ...] = ((b"PK\x03\x04", "npz"), (b"\x89HDF\r\n\x1a\n", "hdf5"))
_GZIP = b"\x1f\x8b"
_ACCEPTED = "a flat file is an .npz or an .hdf5, compressed by gzip or not"


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
    kind = content(path)
    place: Any = path
    try:
        if _packed(path):
            place = io.BytesIO(gzip.decompress(path.read_bytes()))
        if kind == "npz":
            with np.load(place, allow_pickle=False) as file:
                return _named(path, file, file.files)
        with h5py.File(place, "r") as file:
            own, present = inside.number(file.id), []
            for key in file:
                if isinstance(file.get(key), h5py.Dataset):
                    inside.checked(file[key].id, own, f"{path}: {key}")
                    present.append(key)
            return _named(path, file, present)
    except UserError:
        raise
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is truncated or holds something else than plain arrays ({error}); fetch or "
            "write it again"
        ) from error


def groups(path: Path) -> list[str]:
    """Return the groups at the root of an HDF5 file; none of other files."""
    try:
        with h5py.File(path, "r") as file:
            return [key for key in file if isinstance(file[key], h5py.Group)]
    except OSError:
        return []


def _named(path: Path, file: Mapping[str, Any], present: list[str]) -> Arrays:
    own = aliases.chosen(path.name, present)
    arrays = {canonical: np.asarray(file[name][()]) for canonical, name in own.items()}
    if own.get("terminals") in aliases.DONE and "timeouts" in arrays:
        arrays["terminals"] = _terminal(arrays["terminals"], arrays["timeouts"])
    return arrays


def _terminal(done: NDArray[Any], timeouts: NDArray[Any]) -> NDArray[Any]:
    """Return terminal states out of ends for any reason: those without a time-out."""
    if done.shape != timeouts.shape:
        return done
    return np.where(timeouts.astype(bool), np.zeros_like(done), done)


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
        raise UserError(f"{path} cannot be read ({error}); fetch or write it again") from error
