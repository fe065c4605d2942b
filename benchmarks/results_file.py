"""The compact record of one run on one device, made from pytest-benchmark's own long JSON."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gtp_fast.errors import UserError

Record = dict[str, Any]
# What must agree before figures may stand in one table.
MACHINE = (
    "device",
    "driver",
    "threads",
    "gtp_fast",
    "python",
    "torch",
    "triton",
    "processor",
    "git",
    "native",
)
_OF_THE_ROW = ("row", "role", "note", "peak_memory_bytes")
_REPEATS = "repeats"


def collect(raw_files: Sequence[Path]) -> Record:
    """Join the raw files of one run; the turns of a row become one sample.

    Raises UserError when a file is no such JSON, or when the files disagree on machine or versions.
    """
    entries: list[Record] = []
    skipped: list[Record] = []
    dates = []
    for path in raw_files:
        raw = read(path)
        try:
            dates.append(raw["datetime"][:10])
            entries += raw["benchmarks"]
            skipped += raw.get("skipped", [])
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path} is not written by pytest-benchmark: it lacks {error}."
            ) from error
    if not entries:
        raise UserError("No benchmark was measured: look at the output of the run.")
    record: Record = {"measured": max(dates)}
    record |= {key: entries[0]["extra_info"].get(key) for key in MACHINE}
    for entry in entries:
        for key in MACHINE:
            value = entry["extra_info"].get(key)
            if value != record[key]:
                raise UserError(
                    f"The runs differ in {key} ({record[key]!r} and {value!r}):"
                    " collect the files of one run only."
                )
    names = list(dict.fromkeys([e["group"] for e in entries] + [s["group"] for s in skipped]))
    record["groups"] = [_group(name, entries, skipped) for name in names]
    return record


def _group(name: str, entries: Sequence[Record], skipped: Sequence[Record]) -> Record:
    mine = [entry for entry in entries if entry["group"] == name]
    facts: Record = {}
    for entry in mine:
        info = entry["extra_info"]
        facts |= {key: info[key] for key in info if key not in (*MACHINE, *_OF_THE_ROW, _REPEATS)}
    rows = {entry["extra_info"]["row"]: _row(entry["extra_info"]["row"], mine) for entry in mine}
    reasons = {
        s["row"]: {"row": s["row"], "role": s["role"], "skipped": s["reason"]}
        for s in skipped
        if s["group"] == name
    }
    return {"group": name, **facts, "rows": list((rows | reasons).values())}


def _row(name: str, entries: Sequence[Record]) -> Record:
    turns = [entry for entry in entries if entry["extra_info"]["row"] == name]
    seconds = [
        value / turn["extra_info"].get(_REPEATS, 1)
        for turn in turns
        for value in turn["stats"]["data"]
    ]
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return {
        **{key: turns[0]["extra_info"].get(key) for key in _OF_THE_ROW},
        "median_seconds": _short(median),
        "quartiles_seconds": [_short(low), _short(high)],
        "rounds": len(seconds),
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def file_name(record: Mapping[str, Any]) -> str:
    """Return the name of a record's file, from its device."""
    return re.sub(r"[^a-z0-9]+", "-", record["device"].lower()).strip("-") + ".json"


def write(record: Mapping[str, Any], folder: Path) -> Path:
    """Write the record under its device's name, in place of an older one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(record)
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def read(path: Path) -> Record:
    """Read a JSON file; raises UserError when it is none."""
    try:
        record: Record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}).") from error
    return record
