"""Files that are whole or absent: written next to their place, fsynced, then renamed."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gtp_fast.errors import UserError

# No writer takes an hour.
_STALE_SECONDS = 3600.0


def expanded(path: str | os.PathLike[str], variable: str = "HOME") -> Path:
    """Return a path with ~ expanded; UserError where a user has no home folder.

    variable: that of the environment which may be set instead.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{path} is not available, as this user has no home folder: set {variable}."
        ) from error


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """Make a temporary folder and remove it; UserError where none can be made."""
    try:
        made = tempfile.TemporaryDirectory()
    except OSError as error:
        raise UserError(
            f"No temporary folder can be made ({error.strerror or error}): set TMPDIR to a folder "
            "with some space."
        ) from error
    with made as folder:
        yield folder


@contextlib.contextmanager
def temporary_files_removed() -> Iterator[None]:
    """Remove what is written into the temporary folder meanwhile, such as models of mazes."""
    kept = tempfile.tempdir
    with temporary_folder() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = kept


def make_writable(folder: Path) -> None:
    """Make a folder and write into it what is gone at once; OSError where that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def sweep(folder: Path, *patterns: str) -> None:
    """Remove what killed writers left: files and folders of these names, an hour old."""
    for left in (path for pattern in patterns for path in folder.glob(pattern)):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


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
    """Replace `path` in one step; on failure the old file stays (UserError).

    Of several writers the last one counts.
    """
    # The random part tells threads apart, and processes of two machines; a name has 255 bytes.
    short = path.name[:180]
    temporary = path.with_name(f".{short}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        sweep(path.parent, f".{glob.escape(short)}.*.tmp")
        write_durably(temporary, data.encode() if isinstance(data, str) else data)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(unwritable(path, error)) from error
    finally:
        # The reason is told already.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder_of(path: Path) -> None:
    """Make the folder of a file that is written later; UserError where it cannot be written."""
    try:
        make_writable(path.parent)
    except OSError as error:
        raise UserError(unwritable(path, error)) from error


def unwritable(path: Path, error: OSError) -> str:
    """Return the sentence for a file that could not be written."""
    return (
        f"{path} could not be written ({error.strerror or error}): free some space or make the "
        f"folder writable; what was there before is untouched."
    )
