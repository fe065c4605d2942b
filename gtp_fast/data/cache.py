"""Finished tables kept on disk, so that the second start reads one file."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from gtp_fast.data.locate import Source
from gtp_fast.data.table import Provenance, Statistics, TransitionTable
from gtp_fast.system.files import sweep
from gtp_fast.tasks import Rules, Task

# Raised whenever a rule changes what a table holds, so that older files are not read.
_VERSION = 7
_TENSORS = ("rows", "episode")
_NAME, _PART = "gtp_fast_table_", ".part"


def key(sources: Iterable[Source], task: Task, rules: Rules, box: Any = None) -> str:
    """Return a digest of everything a table depends on: files, task, rules, action box."""
    # A dataset without a preset may have the name of one.
    own = task.name, task.family, task.observation_keys, task.start, task.goal
    files = []
    for source in sources:
        for path in source.contents:
            facts = path.stat()
            files.append((source.kind, str(path.resolve()), facts.st_size, facts.st_mtime_ns))
    text = json.dumps([_VERSION, files, own, asdict(rules), box])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def place(digest: str) -> Path:
    """Return the file of a table: in GTP_FAST_CACHE where it is set, else in the user's cache.

    A user without a home folder has no cache: nothing can be stored at the path returned then.
    """
    chosen = os.environ.get("GTP_FAST_CACHE")
    try:
        folder = Path(chosen) if chosen else platformdirs.user_cache_path("gtp_fast")
    except RuntimeError:
        folder = Path(os.devnull)
    if str(folder).startswith("~"):
        # What older releases of platformdirs return instead of an error.
        folder = Path(os.devnull)
    return folder / f"{_NAME}{digest}.safetensors"


def load(path: Path) -> TransitionTable | None:
    """Return the table of a file; None unless it is whole and sound."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in _TENSORS}
            facts = json.loads(file.metadata()["table"])
        sound = bool(torch.isfinite(tensors["rows"].sum(dtype=torch.float64)))
        if facts.pop("checksum") == _checksum(tensors) and sound:
            return _decode(facts | tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return None
    return None


def store(table: TransitionTable, path: Path) -> bool:
    """Write the table atomically; return whether the folder took it."""
    tensors = {name: getattr(table, name) for name in _TENSORS}
    # Without the tensors, which asdict would copy.
    bare = replace(table, rows=table.rows[:0], episode=table.episode[:0])
    facts = asdict(bare) | dict.fromkeys(_TENSORS)
    facts["checksum"] = _checksum(tensors)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, f"{_NAME}*{_PART}")
        handle, temporary = tempfile.mkstemp(prefix=path.stem, suffix=_PART, dir=path.parent)
        os.close(handle)
        save_file(tensors, temporary, metadata={"table": json.dumps(facts)})
        os.replace(temporary, path)
    except (OSError, SafetensorError):
        return False
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return True


def _checksum(tensors: Mapping[str, torch.Tensor]) -> list[int]:
    # A wrapping sum of the bits is limited by memory bandwidth, where a digest would cost a second.
    bits = [tensors[name].numpy().view(np.uint32) for name in _TENSORS]
    return [int(np.add.reduce(part, axis=None, dtype=np.uint64)) for part in bits]


def _decode(facts: dict[str, Any]) -> TransitionTable:
    facts["rules"] = Rules(**_tuples(facts["rules"]))
    facts["statistics"] = Statistics(**_tuples(facts["statistics"]))
    facts["provenance"] = Provenance(**_tuples(facts["provenance"]))
    return TransitionTable(**_tuples(facts))


def _tuples(facts: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples: lists go back to what the dataclasses hold."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
