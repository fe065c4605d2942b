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
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from gtp_fast.data.locate import Source
from gtp_fast.data.table import Provenance, Statistics, TransitionTable
from gtp_fast.tasks import Rules

# Raised whenever a rule changes what a table holds, so that older files are not read.
_VERSION = 4
_TENSORS = ("rows", "episode")


def key(sources: Iterable[Source], task: str, rules: Rules, box: Any = None) -> str:
    """Return a digest of everything a table depends on: files, task, rules, action box."""
    files = []
    for source in sources:
        facts = source.content.stat()
        files.append((source.kind, str(source.path.resolve()), facts.st_size, facts.st_mtime_ns))
    text = json.dumps([_VERSION, files, task, asdict(rules), box])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def places(sources: tuple[Source, ...], digest: str) -> list[Path]:
    """Return the files that may hold the table, the preferred first.

    GTP_FAST_CACHE alone where it is set, else next to the dataset, then the user's cache folder.
    """
    name = f"gtp_fast_table_{digest}.safetensors"
    chosen = os.environ.get("GTP_FAST_CACHE")
    if chosen:
        return [Path(chosen) / name]
    first = sources[0]
    own = first.path if first.path.is_dir() else first.path.parent
    return [own / name, Path.home() / ".cache" / "gtp_fast" / name]


def load(places: Iterable[Path]) -> TransitionTable | None:
    """Return the first whole table among the places; None without one."""
    for path in places:
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name).clone() for name in _TENSORS}
                facts = json.loads(file.metadata()["table"])
            sound = bool(torch.isfinite(tensors["rows"].sum(dtype=torch.float64)))
            if facts.pop("checksum") == _checksum(tensors) and sound:
                return _decode(facts | tensors)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            continue
    return None


def store(table: TransitionTable, places: Iterable[Path]) -> Path | None:
    """Write the table to the first place that takes it, atomically; None if none does."""
    tensors = {name: getattr(table, name) for name in _TENSORS}
    # Without the tensors, which asdict would copy.
    bare = replace(table, rows=table.rows[:0], episode=table.episode[:0])
    facts = asdict(bare) | dict.fromkeys(_TENSORS)
    facts["checksum"] = _checksum(tensors)
    for path in places:
        temporary = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=path.stem, suffix=".part", dir=path.parent)
            os.close(handle)
            save_file(tensors, temporary, metadata={"table": json.dumps(facts)})
            os.replace(temporary, path)
            return path
        except (OSError, SafetensorError):
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
    return None


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
