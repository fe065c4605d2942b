"""What value guidance is worth: GTP against its clone, in a sentence and task by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.evidence_tables import OURS, Row, chance
from gtp_fast.studies import stats
from gtp_fast.studies.group import CLONE
from gtp_fast.studies.markdown import table as markdown
from gtp_fast.training import sized

Pair = tuple[Row, Row]
ENOUGH = 3
"""Seeds of each side below which nothing is said of their intervals."""


def pairs(table: Sequence[Row]) -> list[Pair]:
    """Return GTP's and its clone's rows of one length and width, with a common task."""
    alike = {(r.first["label"], r.first["steps"], r.first["width"]): r for r in table}
    found = [
        (row, alike.get((CLONE, *size))) for (label, *size), row in alike.items() if label == OURS
    ]
    return [(row, clone) for row, clone in found if clone and set(row.runs) & set(clone.runs)]


def headline(table: Sequence[Row], order: Sequence[str]) -> list[str]:
    """Return the sentence on averages, at the campaign's length and width."""
    main = [pair for pair in pairs(table) if pair[0].main]
    if not main:
        return []
    ours, clone = main[0]
    both = _both(main[0], order)
    levels = [np.mean([np.mean(row.scores(task)) for task in both]) for row in (ours, clone)]
    then = [np.mean([np.mean(_then(row, task)) for task in both]) for row in (ours, clone)]
    by_map = (
        f" Both act by their flow; as they acted while they were trained, most of them by the map, "
        f"`{OURS}` scores {then[0]:.1f} and `{CLONE}` {then[1]:.1f}."
    )
    again = any(
        record.get("evaluated_again") for row in main[0] for t in both for record in row.runs[t]
    )
    higher = sum(np.mean(ours.scores(task)) > np.mean(clone.scores(task)) for task in both)
    over = f"{len(both)} task{'s' * (len(both) > 1)}"
    return [
        f"With value guidance `{OURS}` scores {levels[0]:.1f} on average, without it (`{CLONE}`) "
        f"{levels[1]:.1f}, over {over} that both have; it is the higher one on {higher}. A run "
        "with guidance scores higher than one without with probability "
        f"{chance(ours, clone, order)}." + by_map * again
    ]


def section(table: Sequence[Row], order: Sequence[str]) -> list[str]:
    """Return the section that compares both task by task, at every length and width."""
    found = pairs(table)
    if not found:
        return []
    columns = {_name(pair[0]): dict.fromkeys(_both(pair, order), pair) for pair in found}
    default = _by_default(found, order)
    if len({id(pair) for pair in default.values()}) > 1:
        columns[f"the default width, {found[0][0].first['steps']:,} updates"] = default
    tasks = [task for task in order if any(task in column for column in columns.values())]
    lines = [[task, *(_cell(c.get(task), task) for c in columns.values())] for task in tasks]
    lines.append([f"**apart, of {ENOUGH} seeds each**", *map(_count, columns.values())])
    return [
        "## Guidance against cloning, task by task",
        markdown(["task", *columns], lines, aligned=False),
        f"Score of `{OURS}` less that of `{CLONE}`; in parentheses: seeds of each. *Apart*: both "
        f"have {ENOUGH} seeds or more and the 95 % intervals of their means do not touch. So few "
        "seeds make the intervals too narrow: with three each, agents that are equal come out "
        "apart about one time in ten, with four each one time in fifteen. The default width is "
        f"{sized.NARROW} for fewer than {sized.FEW:,} transitions, else {sized.width(sized.FEW)}.",
    ]


def _by_default(found: Sequence[Pair], order: Sequence[str]) -> dict[str, Pair]:
    """Return by task the pair of the default width, at the first one's length."""
    chosen: dict[str, Pair] = {}
    for pair in found:
        size = pair[0].first["steps"], pair[0].first["width"]
        for task in _both(pair, order):
            if size == (found[0][0].first["steps"], sized.width(_transitions(pair, task))):
                chosen[task] = pair
    return chosen


def _transitions(pair: Pair, task: str) -> int:
    return int(pair[0].runs[task][0]["transitions"])


def apart(ours: Sequence[float], clone: Sequence[float]) -> int:
    """Return 1 or -1 where our interval lies above or below the clone's, else 0.

    ours, clone: a score of each seed. The answer is 0 for fewer than `ENOUGH` seeds: by two seeds
    each, agents that are equal would come out apart one time in three.
    """
    if min(len(ours), len(clone)) < ENOUGH:
        return 0
    mine, other = (stats.bootstrap_interval([scores], stats.mean) for scores in (ours, clone))
    return int(mine[0] > other[1]) - int(mine[1] < other[0])


def _both(pair: Pair, order: Sequence[str]) -> list[str]:
    return [task for task in order if all(task in row.runs for row in pair)]


def _name(ours: Row) -> str:
    return f"width {ours.first['width']}, {ours.first['steps']:,} updates"


def _cell(pair: Pair | None, task: str) -> str:
    """Return the distance of the means, whether it is apart, and the numbers of seeds."""
    if pair is None:
        return "-"
    ours, clone = (row.scores(task) for row in pair)
    # Adding 0.0 makes -0.0, which a difference may be rounded to, a plain 0.0.
    distance = round(float(np.mean(ours) - np.mean(clone)), 1) + 0.0
    words = f"{distance:+.1f}" + ", apart" * bool(apart(ours, clone))
    return f"{words} ({len(ours)}, {len(clone)})"


def _count(column: Mapping[str, Pair]) -> str:
    scores = [[row.scores(task) for row in pair] for task, pair in column.items()]
    enough = [pair for pair in scores if min(map(len, pair)) >= ENOUGH]
    sides = [apart(*pair) for pair in enough]
    return f"above {sides.count(1)}, below {sides.count(-1)}, of {len(sides)}"


def _then(row: Row, task: str) -> list[float]:
    """Return the last scores of a row's runs as they were evaluated in training."""
    return [score for record in row.runs[task] for score in record["curve"]["scores"][-1]]
