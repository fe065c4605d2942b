"""Arrays of an HDF5 file that lie in it, and are as large as they promise."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from h5py import h5d, h5f, h5o

from gtp_fast.errors import UserError, first_line

# Errors of a file that need not be damaged.
_REFUSED = (errno.EAGAIN, errno.EACCES, errno.EPERM, errno.ENOLCK)
# Constant arrays compress a thousandfold; what is not written at all has no bytes.
_LEAST_CHECKED, _LARGEST_RATIO = 1 << 28, 2000


def check_open(path: Path) -> None:
    """Raise UserError for an HDF5 file that is locked, or that may not be read."""
    try:
        h5f.open(os.fsencode(path), h5f.ACC_RDONLY).close()
    except OSError as error:
        if error.errno not in _REFUSED:
            return
        raise UserError(
            f"{path} cannot be opened ({first_line(error)}): if another process writes it, wait"
            " until it is written; else check its permissions and its file system"
        ) from error


def number(file: Any) -> int:
    """Return what tells a file's objects from those of others; file: its low-level identifier."""
    return int(h5o.get_info(file).fileno)


def checked(stored: Any, own: int, where: str) -> Any:
    """Return a low-level dataset; UserError when its bytes come from another file.

    own: `number` of the file that it was opened in. External links, external storage and virtual
    datasets would read any file that the user may read.
    """
    plist = stored.get_create_plist()
    elsewhere = h5o.get_info(stored).fileno != own
    if elsewhere or plist.get_external_count() or plist.get_layout() == h5d.VIRTUAL:
        raise UserError(
            f"{where} lies in another file, which is not followed; copy the data into this file"
        )
    return stored


def sized(stored: Any, where: str) -> Any:
    """Return a low-level dataset; UserError when it promises far more than its bytes can hold."""
    check_size(
        stored.get_space().get_simple_extent_npoints() * stored.get_type().get_size(),
        stored.get_storage_size(),
        f"{where} promises {stored.shape}",
    )
    return stored


def check_size(promised: int, stored: int, what: str) -> None:
    """Raise UserError where compressed bytes cannot hold the promised ones."""
    if promised > _LEAST_CHECKED + _LARGEST_RATIO * stored:
        raise UserError(f"{what} numbers and holds fewer; fetch or write the file again")
