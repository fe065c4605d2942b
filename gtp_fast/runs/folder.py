"""Run folders: their files, and the configuration and summary of a run."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from gtp_fast.errors import UserError
from gtp_fast.system import machine, words
from gtp_fast.system.files import write_atomically

_KINDS = {
    "agent": str, "task": str, "agent_settings": dict, "evaluation": dict, "rules": dict,
    "task_facts": dict, "seeds": list, "observation_keys": list, "observation_widths": list,
    "action_low": list, "action_high": list, "steps": int, "episodes": int,
}  # fmt: skip
"""What keys of config.yaml hold, where they are there."""


@dataclass(frozen=True)
class Run(os.PathLike[str]):
    """The folder of one training run and the places in it."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """Table of training metrics."""
        return self.path / "metrics.csv"

    @property
    def evaluations(self) -> Path:
        """Every evaluated episode."""
        return self.path / "evaluations.npz"

    def config(self) -> dict[str, Any]:
        """Return the resolved configuration; UserError when it is missing or no mapping."""
        path = self.path / "config.yaml"
        try:
            config = yaml.load(path.read_text(), words.Plain)
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no valid YAML"
            raise UserError(
                f"{path} cannot be read ({reason}): name a run folder made by gtp_fast.train."
            ) from error
        if not isinstance(config, dict):
            raise UserError(
                f"{path} holds no configuration: restore it, or name another run folder."
            )
        for key, kind in _KINDS.items():
            if not isinstance(config.get(key, kind()), kind):
                raise UserError(
                    f"{path}: {key} is {config[key]!r:.40} where a {kind.__name__} is expected: "
                    "restore the file, or name another run folder."
                )
        return config

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the resolved configuration."""
        write_atomically(self.path / "config.yaml", yaml.safe_dump(plain(config), sort_keys=False))

    def write_environment(self, backend: str) -> None:
        """Write versions, processor, GPU and git revision, and the backend that was chosen."""
        facts = machine.environment() | {"backend": backend}
        write_atomically(self.path / "environment.json", json.dumps(facts, indent=2) + "\n")

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the figures of the finished run."""
        write_atomically(self.path / "summary.json", json.dumps(plain(summary), indent=2) + "\n")

    def summary(self) -> dict[str, Any]:
        """Return the figures of the finished run, or nothing when it has not finished."""
        path = self.path / "summary.json"
        if not path.exists():
            return {}
        try:
            summary = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} cannot be read: delete it, the run can do without.") from error
        return summary if isinstance(summary, dict) else {}


def create(root: str | Path, task: str, agent: str, now: datetime | None = None) -> Run:
    """Make <root>/<task>-<agent>-<date>-<time>, with -2, -3 ... where that is taken."""
    stamp = (now or datetime.now()).strftime("%Y%m%d-%H%M%S")
    name = f"{task}-{agent}-{stamp}"
    for suffix in ("", *(f"-{i}" for i in range(2, 1000))):
        with contextlib.suppress(FileExistsError):
            return make(Path(root) / (name + suffix))
    raise UserError(
        f"{Path(root) / name} is taken a thousand times over: choose another place for the runs."
    )


def make(path: Path) -> Run:
    """Make a run folder; FileExistsError where there is one, UserError where it cannot be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # One that is a file or a link into nowhere exists and is no folder.
        raise _unmade(path, error) from error
    try:
        path.mkdir()
        (path / "checkpoints").mkdir()
    except FileExistsError:
        raise
    except OSError as error:
        raise _unmade(path, error) from error
    return Run(path)


def _unmade(path: Path, error: OSError) -> UserError:
    reason = error.strerror
    if isinstance(error, FileExistsError):
        reason = f"{error.filename} is a file or a link into nowhere"
    return UserError(f"The run folder {path} cannot be made ({reason}): choose another place.")


def open_run(path: str | os.PathLike[str]) -> Run:
    """Return the run in an existing folder; UserError when the folder is none."""
    run = Run(Path(path))
    if not run.path.is_dir():
        raise UserError(f"There is no run folder {run.path}.")
    if not (run.path / "config.yaml").exists():
        raise UserError(f"{run.path} is no run folder: it has no config.yaml.")
    return run


def plain(value: Any) -> Any:
    """Return a value as dicts, lists, strings and numbers, for YAML and JSON."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
