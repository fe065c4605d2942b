"""Records of the evidence: one a run, from every run folder below a root."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import evidence_again
from gtp_fast import runs
from gtp_fast.errors import UserError
from gtp_fast.runs import evaluations
from gtp_fast.studies import groups, stats
from gtp_fast.studies.group import CLONE, Group
from gtp_fast.tasks import Rules

Record = dict[str, Any]


@dataclass(frozen=True)
class Campaign:
    """A campaign: every task with every label and seed, at one length and width."""

    tasks: tuple[str, ...]
    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int
    width: int

    def cells(self) -> list[tuple[int, str, str]]:
        """Return (seed, task, label) of every cell, seed by seed, then task by task."""
        return [
            (s, task, label) for s in self.seeds for task in self.tasks for label in self.labels
        ]

    def missing(self, records: Sequence[Record]) -> list[tuple[int, str, str]]:
        """Return the cells that no record holds, in their order."""
        held = {
            (seed, record["task"], record["label"])
            for record in records
            if (record["steps"], record["width"]) == (self.steps, self.width)
            for seed in record["seeds"]
        }
        return [cell for cell in self.cells() if cell not in held]


def collect(root: Path, earlier: Path | None = None) -> list[Record]:
    """Return the records of all finished runs below a folder, sorted.

    earlier: a results.json; its records of cells without a run below the folder are kept, so that a
    campaign may continue without its older runs. Raises UserError when two runs hold the same
    seed of the same cell.
    """
    records: list[Record] = []
    places: dict[tuple[str, str, int, int, int], Path] = {}
    for path in sorted(root.rglob("summary.json")):
        if not (path.parent / "config.yaml").exists():
            continue
        run = runs.open_run(path.parent)
        # A run without an environment has no scores.
        if not run.evaluations.exists():
            continue
        found = [_record(run, group) for group in groups.collect([str(run)])]
        records += found
        for seed, record in ((seed, one) for one in found for seed in one["seeds"]):
            key = (record["task"], record["label"], record["steps"], record["width"], seed)
            if key in places:
                raise UserError(
                    f"{places[key]} and {path.parent} are both {key[0]}, {key[1]}, seed {seed}, of "
                    f"{key[2]:,} updates at width {key[3]}: move one of them out of {root}."
                )
            places[key] = path.parent
    for record in _kept(earlier):
        own = (record["task"], record["label"], record["steps"], record["width"])
        left = [i for i, seed in enumerate(record["seeds"]) if (*own, seed) not in places]
        if left:
            records.append(_of_seeds(record, left))
    order = ("task", "label", "steps", "width", "seeds")
    return sorted(records, key=lambda record: tuple(record[name] for name in order))


def _of_seeds(record: Record, at: Sequence[int]) -> Record:
    """Return a record with those of its seeds alone, by their places."""
    if len(at) == len(record["seeds"]):
        return record
    seeds, curve = [record["seeds"][i] for i in at], record["curve"]
    return record | {
        "seeds": seeds,
        **{name: [record[name][i] for i in at] for name in ("scores", "intervals")},
        "curve": curve | {"scores": [[row[i] for i in at] for row in curve["scores"]]},
        "diverged": {x: step for x, step in record["diverged"].items() if int(x) in seeds},
    }


def _kept(path: Path | None) -> list[Record]:
    if path is None or not path.exists():
        return []
    try:
        records: list[Record] = json.loads(path.read_text())["runs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: restore it, or delete it.") from error
    return records


def _record(run: runs.Run, group: Group) -> Record:
    """Return the record of a run's group; scores of mazes are success rates in percent."""
    config, summary, rows = run.config(), run.summary(), evaluations.read(run.evaluations)
    held = np.isin(rows["seed"], sorted(group.seeds))
    rows = {name: column[held] for name, column in rows.items()}
    goal = group.task.goal_reaching
    rows["score"] = 100.0 * rows["success"] if goal else group.task.score(rows["return"])
    steps, curve = evaluations.by_step(rows, "score")
    last = rows["step"] == steps[-1]
    seeds = sorted(group.seeds)
    episodes = [rows["score"][last & (rows["seed"] == seed)] for seed in seeds]
    again, acted = evidence_again.of(group, config["steps"]), {}
    if again is not None:
        figures, acted = again.figures, {"act_by": again.act_by}
        episodes = list(100.0 * figures["success"] if goal else group.task.score(figures["return"]))
    rate = summary["updates_per_second"]
    record: Record = runs.plain({
        "task": group.task.name,
        "label": CLONE if config["agent"] == "gtp" and group.clones else config["agent"],
        "seeds": seeds,
        "steps": config["steps"],
        "width": group.settings.get("width"),
        "measure": "success rate in percent" if goal else "normalised return",
        "scores": [round(float(np.mean(each)), 4) for each in episodes],
        "evaluated_again": again is not None,
        "intervals": [_rounded(stats.bootstrap_interval([e], stats.mean)) for e in episodes],
        "episodes": group.episodes,
        "curve": {"steps": steps, "scores": [values.round(4) for values in curve]},
        "updates_per_second": rate and round(rate, 2),
        "hours_per_seed": rate and round(config["steps"] / rate / 3600 / len(config["seeds"]), 4),
        "diverged": group.diverged,
        "dataset": group.dataset,
        "made_locally": not summary["official_dataset"],
        **summary["data"],
        "data_level": None if group.data_level is None else round(group.data_level, 4),
        "environment": summary["environment"],
        **{name: summary.get(name) for name in ("k", "num_candidates", "noise_scale")},
        **origin(run),
        **{name: config.get(name) for name in ("engine", "backend")},
        "precision": config.get("precision", "fp32"),
        "evaluate_every": config.get("evaluate_every"),
        **({"hold_out": share} if (share := config.get("hold_out", 0.0)) else {}),
        "rules": dataclasses.asdict(Rules()) | (config.get("rules") or {}),
        "settings": group.settings | acted,
    })  # fmt: skip
    return record


def _rounded(interval: tuple[float, float]) -> list[float] | None:
    return None if np.isnan(interval).any() else [round(edge, 4) for edge in interval]


def origin(run: runs.Run, *more: str) -> Record:
    """Return with which version, on what processor a run was made; more: further facts."""
    path = run.path / "environment.json"
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: restore it, or move the run away.") from error
    return {name: facts.get(name) for name in ("gtp_fast", "git", "processor", "gpu", *more)}
