"""Files that are whole or absent: written next to their place, fsynced, then renamed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gtp_fast.errors import UserError


@contextlib.contextmanager
def temporary_files_removed() -> Iterator[None]:
    """Remove what is written into the temporary folder meanwhile, such as models of mazes."""
    kept = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = kept


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file and fsync it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """fsync a directory, so that a rename survives a crash."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, data: bytes | str) -> None:
    """Replace `path` in one step; on failure the old file stays (UserError)."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write_durably(temporary, data.encode() if isinstance(data, str) else data)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(unwritable(path, error)) from error


def unwritable(path: Path, error: OSError) -> str:
    """Return the sentence for a file that could not be written."""
    return (
        f"{path} could not be written ({error.strerror or error}): free some space or make the "
        f"folder writable; what was there before is untouched."
    )
