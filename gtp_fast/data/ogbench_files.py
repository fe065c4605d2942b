"""OGBench's files: where they lie, and how they come here."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gtp_fast.data.files import absent, check_npz
from gtp_fast.environments.ogbench_names import Single
from gtp_fast.environments.ogbench_package import required
from gtp_fast.errors import UserError, untrusted
from gtp_fast.system.files import expanded

SETTINGS_KEY = "gtp_fast_collect"
"""Array of a file made here, with its settings as JSON; OGBench's loader does not read it."""
COLLECTED = {"pointmaze": ("navigate", "stitch")} | dict.fromkeys(
    ("cube", "scene", "puzzle"), ("play", "noisy")
)
"""Bodies, and their data, for which OGBench's package includes a scripted policy."""


def folder() -> Path:
    """Return the folder of OGBench's files: OGBENCH_DATA, or its default, ~/.ogbench/data."""
    return expanded(os.environ.get("OGBENCH_DATA") or "~/.ogbench/data", "OGBENCH_DATA")


def can_collect(single: Single) -> bool:
    """Return whether `python -m gtp_fast.collect` can make the data of a task."""
    return single.data in COLLECTED.get(single.body, ())


def located(single: Single, dataset: str | Path | None = None) -> Path:
    """Return the task's file: the one given, the one in the folder, or a download by OGBench.

    Raises UserError that names the ways to get it where it is none of these.
    """
    own = folder() / f"{single.dataset}.npz"
    path = own if dataset is None else expanded(dataset)
    # A run keeps the name of OGBench's own file, which lies in OGBench's folder.
    if dataset is not None and str(dataset) == own.name and not path.is_file():
        path, dataset = own, None
    if path.is_file():
        return path
    if dataset is not None:
        raise absent(path)
    reason = _downloaded(single)
    if path.is_file():
        return path
    url = f"{required(single.name).utils.DATASET_URL}/{path.name}"
    ways = [f"fetch {url} into {folder()}", "--dataset PATH"]
    if can_collect(single):
        ways.append(f"python -m gtp_fast.collect {single.name}")
    raise UserError(
        f"{path.name} is not in {folder()} ({reason}); get it by any of these: {'; '.join(ways)}"
    )


def made_here(path: Path) -> dict[str, Any] | None:
    """Return the settings of a file that was collected here; None for OGBench's own.

    Raises UserError when it is no .npz, or an array promises more than the file holds.
    """
    damaged = untrusted(f"{path} cannot be read as an .npz of plain arrays", "fetch it again")
    with damaged, np.load(path, allow_pickle=False) as file:
        for name in file:
            check_npz(file, name)
        found = json.loads(str(file[SETTINGS_KEY])) if SETTINGS_KEY in file else None
    return found


def _downloaded(single: Single) -> str:
    """Let OGBench fetch the file; return why it is not there, if it is not."""
    package = required(single.name)
    print(f"fetching {single.dataset} with ogbench", file=sys.stderr)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            package.download_datasets([single.dataset], str(folder()))
    except OSError as error:
        return f"the download failed: {str(error)[:120]}"
    return "the download left nothing"
