"""What a part of `make gpu` finds, printed and written as it goes."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gtp_fast.errors import UserError
from gtp_fast.ops.launches import Launches
from gtp_fast.system.files import write_atomically

Record = Mapping[str, Any]
"""One finding; `ok` says whether it is as it should be, where it can be otherwise."""


@dataclass(frozen=True)
class Place:
    """Where a part runs; dry: in small, on a CPU, by emulation."""

    device: torch.device
    dry: bool

    @classmethod
    def here(cls, dry: bool) -> Place:
        """Return the GPU, or the CPU of a dry run."""
        return cls(torch.device("cpu" if dry else "cuda"), dry)


Stage = Callable[[Place], Iterator[Record]]


def skipped(reason: UserError, launches: Launches) -> Record:
    """Return the record of a refused launch option; raise where none was asked for."""
    # Only this option may be refused: a card may have no clusters.
    if not launches.critics_together:
        raise reason
    return {"skipped": str(reason)}


def failure(error: Exception) -> Record:
    """Return the record of an error that is being handled, and where it arose."""
    where = traceback.format_exc(limit=-4)
    return {"ok": False, "failed": f"{type(error).__name__}: {error} at {where}"}


class Report:
    """The records of a part in a JSON file, complete after each of them."""

    def __init__(self, path: Path, facts: Record):
        self.path = path
        self.content: dict[str, Any] = {**facts, "records": [], "done": False}
        self.ok = True

    def add(self, stage: str, record: Record) -> None:
        """Print a record and write all of them."""
        self.ok &= bool(record.get("ok", True))
        self.content["records"].append({"stage": stage, **record})
        words = "  ".join(f"{key} {value}" for key, value in record.items() if key != "ok")
        mark = {True: "ok   ", False: "BAD  "}.get(record.get("ok", ...), "")
        print(f"[{stage}] {mark}{words}", flush=True)
        self._write()

    def close(self) -> None:
        """Say that no stage was cut off."""
        self.content["done"] = True
        self._write()

    def _write(self) -> None:
        write_atomically(self.path, json.dumps(self.content, indent=1) + "\n")


def run(stages: Sequence[tuple[str, Stage]], place: Place, report: Report, seconds: float) -> bool:
    """Run stages until the time is up; return whether all is as it should be.

    A stage that fails is a record, and the next one runs all the same. So is one that the time did
    not suffice for.
    """
    end = time.monotonic() + seconds
    for name, stage in stages:
        began = time.monotonic()
        if began >= end:
            report.add(name, {"ok": False, "cut": "no time was left for it"})
            continue
        try:
            for record in stage(place):
                report.add(name, record)
                if time.monotonic() >= end:
                    report.add(name, {"ok": False, "cut": "the time ran out in it"})
                    break
        except Exception as error:
            report.add(name, failure(error))
        report.add(name, {"seconds": round(time.monotonic() - began, 1)})
    report.close()
    return report.ok
