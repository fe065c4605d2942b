"""D4RL's own .hdf5 files, under the rules of its Q-learning loader."""

from __future__ import annotations

from pathlib import Path

import h5py

from gtp_fast.data import flat
from gtp_fast.data.recording import Recording
from gtp_fast.errors import UserError


def read(path: Path) -> Recording:
    """Transitions of a D4RL file; raises UserError when it is truncated or of another layout."""
    try:
        with h5py.File(path, "r") as file:
            # D4RL's loader never used the stored next observations, which some files lack.
            wanted = (*flat.REQUIRED, "timeouts")
            arrays = {key: file[key][()] for key in wanted if key in file}
    except (OSError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path} is truncated or not an HDF5 file of D4RL's layout ({error}); fetch it again"
        ) from error
    recording = flat.transitions(path.name, arrays)
    recording.description = "a D4RL file"
    recording.official = True
    return recording
