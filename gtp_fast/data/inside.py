"""Arrays of an HDF5 file that lie in that file, and in no other."""

from __future__ import annotations

from typing import Any

from h5py import h5d, h5o

from gtp_fast.errors import UserError


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
