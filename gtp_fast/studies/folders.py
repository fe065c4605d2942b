"""The runs that a folder holds: of a sweep, of a study, or just below it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gtp_fast.runs import Run
from gtp_fast.studies.sweeps import record


def spread(paths: Sequence[str], unscored: bool = False) -> tuple[list[str], list[str]]:
    """Return all runs at or below paths, and a table of each sweep's jobs.

    Each run stands once. unscored: also runs inside that have not been evaluated.
    """
    found: dict[Path, str] = {}
    tables = []
    for path in paths:
        kept = record.read(Path(path))
        if kept:
            tables.append(f"{path}\n\n{record.table(Path(path), kept)}")
        inside = [Run(Path(path) / name) for name in kept] or _inside(Path(path))
        made = [run for run in inside if (run.path / "config.yaml").exists()]
        runs = [str(run) for run in made if unscored or run.evaluations.exists()]
        if not kept and not runs:
            # What is wrong with them is said where they are read.
            runs = [str(run) for run in made] or [path]
        for run in runs:
            found.setdefault(Path(run).resolve(), run)
    return list(found.values()), tables


def _inside(folder: Path) -> list[Run]:
    """Return the runs below a folder of runs or studies, none below a run."""
    if not folder.is_dir() or (folder / "config.yaml").exists():
        return []
    configs = [*folder.glob("*/config.yaml"), *folder.glob("*/*/config.yaml")]
    return [Run(path.parent) for path in sorted(configs)]
