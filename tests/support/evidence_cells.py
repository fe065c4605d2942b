"""Finished runs of an evidence campaign, of invented scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fake_runs import SETTINGS, add_scores, config

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import evidence_runs  # noqa: E402
from gtp_fast.runs import Run  # noqa: E402

MAZES = ("pointmaze-umaze", "pointmaze-large")
CAMPAIGN = evidence_runs.Campaign(MAZES, ("gtp", "gtp-clone", "bc"), (0, 1), 100, 16)
OPTIONS = [
    "--tasks", *MAZES, "--labels", "gtp", "gtp-clone", "bc", "--seeds", "0", "1",
    "--steps", "100", "--width", "16",
]  # fmt: skip
ONE, HALF, NONE = [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]

FACTS = {"gtp_fast": "0.1.0", "git": "abcdef", "torch": "2.13.0", "processor": "P", "gpu": None}
SUMMARY = {
    "dataset": "some/set-v0", "official_dataset": False, "updates": 100,
    "data": {"description": "Made by the test.", "transitions": 1234},
}  # fmt: skip


def finish(run: Run, returns: dict[int, list[list[float]]], **changes: Any) -> Run:
    """Give a run its evaluations, step -> returns [S, N], and what a finished run holds."""
    settings = run.config()
    for step, figures in returns.items():
        add_scores(run, step, figures, settings["seeds"])
    facts = {"gtp_fast": "0.1.0", "git": "abcdef" * 6, "processor": "a processor", "gpu": None}
    (run.path / "environment.json").write_text(json.dumps(facts))
    run.write_summary(
        {
            "dataset": settings["dataset"],
            "official_dataset": False,
            "data": {"description": "Made by the test.", "transitions": 1234},
            "environment": "Env-v0",
            "updates_per_second": 0.1,
            "data_success_rate": 0.25,
            "diverged": {},
        }
        | changes
    )
    return run


def cell(root: Path, task: str, label: str, seed: int, last: list[float], **changes: Any) -> Run:
    """Make the finished run of a cell; it had no success half-way."""
    settings = SETTINGS | {"eta": [0.0 if label == "gtp-clone" else 1.0]}
    given = {
        "task": task, "seeds": [seed], "agent_settings": settings, "episodes": len(last),
        "agent": "gtp" if label == "gtp-clone" else label,
    } | changes  # fmt: skip
    run = Run(root / task / label / f"{seed}-{given.get('steps', 100)}")
    run.path.mkdir(parents=True)
    run.write_config(config(**given))
    half = given.get("steps", 100) // 2
    return finish(run, {half: [[0.0] * len(last)], 2 * half: [last]})


def two_mazes(root: Path) -> Path:
    """Make two seeds of gtp and its clone on one maze; one seed of gtp and bc on the other."""
    umaze, large = MAZES
    for seed, (ours, clone) in enumerate([(ONE, HALF), (HALF, NONE)]):
        cell(root, umaze, "gtp", seed, ours)
        cell(root, umaze, "gtp-clone", seed, clone)
    cell(root, large, "gtp", 0, ONE)
    cell(root, large, "bc", 0, HALF)
    return root


def line(page: str, start: str) -> list[str]:
    """Return the cells of the first table line that starts so."""
    row = next(row for row in page.splitlines() if row.startswith(f"| {start} |"))
    return [word.strip() for word in row.strip("|").split("|")]


def evaluated_again(run: Run, success: list[float], **changes: Any) -> None:
    """Write what gtp_fast.evaluate leaves beside a run."""
    (run.path / "evaluations").mkdir()
    record = {
        "act_by": "euler", "step": 100, "evaluation_seed": 0, "episodes": len(success),
        "noise_scale": 1.0, "num_candidates": 1, "k": SETTINGS["k"], "weights": "ema",
        "seeds": [0],
        "per_episode": {"return": [success], "success": [success]},
    } | changes  # fmt: skip
    (run.path / "evaluations" / "step_000000100-euler.json").write_text(json.dumps(record))
