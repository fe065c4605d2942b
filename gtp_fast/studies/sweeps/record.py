"""The folder of a sweep: what each job is, what came of it, and its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtp_fast.errors import UserError
from gtp_fast.evaluation import record as evaluation
from gtp_fast.runs import Run
from gtp_fast.studies import jobs, markdown
from gtp_fast.studies.jobs import Job, Result
from gtp_fast.system.files import write_atomically

_FILE = "sweep.json"


class Record:
    """Jobs of a sweep by name, kept in sweep.json; one process at a time writes it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.hold = jobs.held(folder)
        try:
            self.jobs = read(folder)
        except BaseException:
            self.hold.release()
            raise

    def add(self, given: Sequence[Job]) -> list[Job]:
        """Take jobs in; return those that are not finished yet."""
        left = []
        for job in given:
            name, facts = job.home.name, jobs.facts(job.command)
            kept = self.jobs.setdefault(name, {"state": "waiting"})
            kept |= {key: facts[key] for key in ("agent", "seeds", "steps")}
            kept["task"] = job.command.task.name
            run = Run(job.home)
            there = (run.path / "config.yaml").exists()
            if kept["state"] == "finished" and there and not jobs.unfinished(run):
                continue
            kept["state"] = "waiting"
            left.append(job)
        self._write()
        return left

    def take(self, result: Result) -> None:
        """Keep a result, and its files where the run's own folder is on another machine."""
        result.write(self.folder / result.name)
        self.jobs[result.name] |= {
            key: getattr(result, key) for key in ("state", "reason", "trace", "where", "seconds")
        }
        self._write()

    def close(self) -> None:
        """Free the folder for others."""
        self.hold.release()

    def _write(self) -> None:
        write_atomically(self.folder / _FILE, json.dumps({"jobs": self.jobs}, indent=1) + "\n")


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the jobs that a folder keeps, none where it is no sweep's."""
    path = folder / _FILE
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
        kept: dict[str, dict[str, Any]] = {
            str(name): {"state": "waiting", **facts} for name, facts in content["jobs"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read: delete it, the sweep finds its runs again."
        ) from error
    return kept


def headline(run: Run) -> str:
    """Return a finished run's last figure, as its mean over seeds; empty without one."""
    last = run.summary().get("last")
    if not isinstance(last, dict) or "return" not in last:
        return ""
    name, values = evaluation.headline(last)
    return f"{name} {float(np.mean(values)):.3g}"


def table(folder: Path, kept: dict[str, dict[str, Any]]) -> str:
    """Return a sweep's jobs as a table."""
    rows = [
        [
            name, " ".join(map(str, facts.get("seeds", ()))), str(facts["state"]),
            headline(Run(folder / name)) or "-", str(facts.get("reason") or "-"),
        ]
        for name, facts in kept.items()
    ]  # fmt: skip
    return markdown.table(["job", "seeds", "state", "last", "reason"], rows)
