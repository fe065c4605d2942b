"""An .npz file of the user's own transitions, under D4RL's key names."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from gtp_fast.data import flat
from gtp_fast.data.recording import Recording
from gtp_fast.errors import UserError


def read(path: Path) -> Recording:
    """Transitions of an .npz; raises UserError when it cannot be read or its arrays disagree."""
    wanted = (*flat.REQUIRED, *flat.OPTIONAL)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in wanted if key in file}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as an .npz of plain arrays ({error})") from error
    return flat.transitions(path.name, arrays)
