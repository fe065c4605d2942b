"""Averages of the evidence over tasks with unequal numbers of seeds, by hand."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import evidence_guidance, evidence_tables
from benchmarks.evidence_tables import Row

ORDER = ("ant", "point")
Figures = Mapping[str, list[float]]


def row(label: str, scores: Figures, then: Figures, width: int = 16) -> Row:
    """Return a row, the campaign's at width 16; then: scores of the last training evaluation."""
    records = {
        task: [
            {
                "task": task, "label": label, "steps": 100, "width": width, "scores": values,
                "curve": {"steps": [50, 100], "scores": [[90.0] * len(values), then[task]]},
                "evaluated_again": True, "intervals": [None] * len(values), "data_level": None,
            }
        ]
        for task, values in scores.items()
    }  # fmt: skip
    return Row(label, width == 16, records)


def found() -> list[Row]:
    ours = {"ant": [80.0, 60.0], "point": [30.0]}, {"ant": [10.0, 20.0], "point": [5.0]}
    clone = {"ant": [50.0, 50.0], "point": [30.0]}, {"ant": [0.0, 2.0], "point": [3.0]}
    return [row("gtp", *ours), row("gtp-clone", *clone)]


def test_the_worth_of_guidance_gives_every_task_one_weight() -> None:
    one = {"ant": [1.0], "point": [1.0]}
    wide = [row(label, one, one, width=32) for label in ("gtp", "gtp-clone")]
    (sentence,) = evidence_guidance.headline([*wide, *found()], ORDER)
    assert "scores 50.0 on average, without it (`gtp-clone`) 40.0, over 2 tasks" in sentence
    # Equal on the second task, where neither is the higher one and the chance is a half.
    assert "the higher one on 1." in sentence and "probability 0.75." in sentence
    assert "by the map, `gtp` scores 10.0 and `gtp-clone` 2.0." in sentence
    assert evidence_guidance.headline(wide, ORDER) == []


def test_the_average_gives_every_task_one_weight_and_the_iqm_every_seed() -> None:
    table = found()
    records = [record for one in table[0].runs.values() for record in one]
    lines = evidence_tables.score_table(table, ORDER, ORDER, records).splitlines()
    cells = {words[1]: words[3:5] for words in (
        [word.strip() for word in line.split("|")] for line in lines
    )}  # fmt: skip
    # (70 + 30) / 2 and (50 + 30) / 2; one seed of the second task leaves no interval.
    assert cells["**average**"] == ["50.0", "40.0"]
    assert cells["**IQM**"] == ["56.7", "43.3"]
    assert not any("all 2 tasks" in name for name in cells), "they would be the same rows"
