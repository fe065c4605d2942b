"""The result of an evaluation: as text, and as a file of the run folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtp_fast.errors import UserError
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.runs import plain
from gtp_fast.system.files import write_atomically
from gtp_fast.system.numbers import many


def heading(record: Mapping[str, Any], where: str, without: str) -> list[str]:
    """Return the first lines of a result: what was evaluated, where, and how it acted.

    without: what a diverged seed does, or has, when its policy gives no finite action.
    """
    by_mean = record["act_by"] == "euler" and record["k"] == 1
    return [
        f"{record['task']} on {record['dataset']}, {where}",
        f"{record['agent']}, {record['checkpoint']} checkpoint (update {record['step']:,}), "
        f"{record['weights']} weights, K = {record['k']}, "
        f"num_candidates = {record['num_candidates']}"
        + (f" ({record['candidate_rule']})" if record["candidate_rule"] else "")
        + f", noise_scale = {record['noise_scale']:g}"
        + (", act_by = euler" if record["act_by"] == "euler" else ""),
        *(
            f"seed {seed} diverged at update {step:,} of the training: its policy is the one from "
            f"before, {without} where that cannot act"
            for seed, step in record["diverged"].items()
        ),
        *(["one Euler step gives about the mean action; --act-by map jumps"] if by_mean else []),
    ]


def grid(seeds: Sequence[int], columns: Mapping[str, tuple[Sequence[float], int]]) -> list[str]:
    """Return one line a seed, with mean and standard deviation of several.

    columns: by title, one value a seed and its decimal places.
    """
    width = max(map(len, columns)) + 2
    rows = {str(seed): [v[i] for v, _ in columns.values()] for i, seed in enumerate(seeds)}
    if len(seeds) > 1:
        rows["mean"] = [float(np.mean(v)) for v, _ in columns.values()]
        rows["std"] = [float(np.std(v, ddof=1)) for v, _ in columns.values()]
    places = [p for _, p in columns.values()]
    return ["seed".ljust(6) + "".join(title.rjust(width) for title in columns)] + [
        name.ljust(6)
        + "".join(f"{v:.{p}f}".rjust(width) for v, p in zip(values, places, strict=True))
        for name, values in rows.items()
    ]


def table(record: dict[str, Any], evaluation: Evaluation) -> str:
    """Return the result as text, with its protocol."""
    count, means = len(evaluation.seeds), evaluation.means()
    titles = {
        "score": ("normalised return", 1),
        "success_rate": ("success rate", 3),
        "return": ("return", 1),
        "length": ("length", 1),
    }
    columns = {t: (means[name], places) for name, (t, places) in titles.items() if name in means}
    lines = [
        *heading(record, f"in {record['environment']}", "and rests in the middle of its box"),
        f"{many(record['episodes'], 'episode')} for each of {many(count, 'seed')}, "
        f"evaluation seed {record['evaluation_seed']}",
        "",
        *grid(evaluation.seeds, columns),
    ]
    if record["reference"] is not None:
        low, high = record["reference"]
        lines += ["", f"normalised return = 100 (return - {low:g}) / ({high:g} - {low:g})"]
    lines.append(record["reference_source"])
    return "\n".join(lines)


def write(record: dict[str, Any], evaluation: Evaluation) -> Path:
    """Write protocol and episodes into RUN/evaluations/; return the file, named by its protocol."""
    figures = {
        "return": evaluation.returns,
        "length": evaluation.lengths,
        "success": evaluation.successes if evaluation.tells_success else None,
        "environment_seed": evaluation.environment_seeds,
    }
    content = record | {"means": evaluation.means(), "per_episode": figures}
    name = f"{acting_name(record)}-{record['episodes']}episodes"
    if not record["own_environment"]:
        name += f"-{re.sub(r'[^A-Za-z0-9._-]+', '-', record['environment'])}"
    return store(content, name)


def acting_name(record: Mapping[str, Any]) -> str:
    """Return checkpoint, way of acting and evaluation seed as part of a file's name."""
    return (
        f"step_{record['step']:09d}-{record['weights']}-k{record['k']}-n{record['num_candidates']}"
        f"{record['candidate_rule'] or ''}"
        f"-z{record['noise_scale']:g}{'-euler' if record['act_by'] == 'euler' else ''}"
        f"-seed{record['evaluation_seed']}"
    )


def store(content: Mapping[str, Any], name: str) -> Path:
    """Write RUN/evaluations/NAME.json and return it; UserError when the folder is not writable."""
    folder = Path(content["run"]) / "evaluations"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made ({error.strerror}): make the run folder writable."
        ) from error
    path = folder / f"{name}.json"
    write_atomically(path, json.dumps(plain(content), indent=1) + "\n")
    return path
