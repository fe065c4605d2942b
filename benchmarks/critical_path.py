"""python -m benchmarks.critical_path: an estimate of one GPU update of GTP, node by node.

Records the launches of an update on this CPU, asks a model (kernel_costs, sampler_costs) what each
would cost an H100, and writes the tables into docs/performance.md. Nothing in them is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import ROOT, bench_update
from benchmarks import h100 as gpu
from benchmarks.h100 import GAP, Cost, Design
from benchmarks.report import replace
from benchmarks.sampler_costs import layer
from benchmarks.update_nodes import Line, Update, lines, longest, record, time_of, ways
from gtp_fast.errors import UserError
from gtp_fast.ops.launches import DEFAULT, OTHER_WAYS, Launches

MARKERS = ("<!-- critical path:begin -->", "<!-- critical path:end -->")
GOALS = {"fp32": 150, "bf16": 80}
"""Microseconds of an update, by what its products read."""
TITLE = "## One update on a GPU, estimated"
_SIZES = bench_update.OBSERVATIONS, bench_update.ACTIONS


@dataclasses.dataclass(frozen=True)
class Change:
    """A change: other designs of kernels, or another graph."""

    words: str
    design: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    together: bool = False
    """Critic pass, TD loss and chain are one kernel of clusters."""


CHANGES = (Change("critic pass, TD loss and chain as one cluster kernel", together=True),)
BUILT = {
    "begins_at_once": "the batch is drawn inside fold, which draws the times it embeds again",
    "actor_beside": "the actor's loss and chain on the side stream, weighted later",
    "clock_parts": "4 programs for each clock's gradient",
    "gradient_turn": "64 rows in a turn of a weight gradient by tensor cores",
    "small_tiles": "8 rows a tile in full float32",
    "copies": "copies of the parameters in aligned rows, in bf16 rounded, written by each step",
    "fold_packs": "weights are packed for the sampler's tensor cores where the policy is folded",
    "step_accounts": "metrics are added up in the actor's step, the counter advances before it",
}
"""Options of the launches, in words."""
UNCOUNTED = Change(
    "blocks of a cluster count what they get, where a barrier fences", {"counted": False}
)
"""What the sampler's plan `counted` replaces."""


def changed(update: Update, *changes: Change) -> list[Line]:
    """Return the nodes of an update after changes."""
    design = Design(**{key: value for x in changes for key, value in x.design.items()})
    made = lines(update, design)
    if any(x.together for x in changes):
        made = _together(made, update, design)
    return made


def _together(made: Sequence[Line], update: Update, design: Design) -> list[Line]:
    at = next(i for i, x in enumerate(made) if x.name == "critic pass")
    given, parts = update.nodes[at].given, [made[at].cost, made[at + 1].cost]
    full, width, depth = update.precision == "fp32", given["H"], given["DEPTH"]
    clusters = parts[0].blocks * given["BLOCK_B"] // 16
    cost = Cost(8 * clusters, written=parts[1].written, flops=sum(x.flops for x in parts))
    weights = (4 if full else 2) * (depth * width + sum(given["K"])) * width / 8
    cost.read = cost.blocks * weights
    for _ in range(-(-clusters // gpu.CLUSTERS[update.precision])):
        cost.wait(gpu.L2_LATENCY, 2)
        cost.clocks += weights / gpu.L2_CLOCK
        layer(cost, 16, sum(given["K"]), width, full, design)
        # Forward, the values, backward.
        for _ in range(2 * (depth - 1) + 2):
            layer(cost, 16, width, width, full, design)
    return [*made[:at], Line("critics", cost), *made[at + 2 :]]


def main(argv: Sequence[str]) -> int:
    """Write or check the section, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.critical_path", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if outdated")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    options = parser.parse_args(argv)
    # Read when Triton is first imported.
    os.environ["TRITON_INTERPRET"] = "1"
    table = bench_update.table()
    updates = [record(bench_update.CONFIG, table, _SIZES, precision) for precision in GOALS]
    others = {
        name: [
            record(bench_update.CONFIG, table, _SIZES, precision, _without(name))
            for precision in GOALS
        ]
        for name in OTHER_WAYS
    }
    old = options.page.read_text()
    new = replace(old, render(updates, others), options.page.name, MARKERS)
    if new == old:
        print(f"{options.page.name} is what the model says")
    elif options.check:
        print(
            f"{options.page.name} is not what the model says; mend it with: "
            "python -m benchmarks.critical_path",
            file=sys.stderr,
        )
        return 1
    else:
        options.page.write_text(new)
        print(f"wrote the critical path into {options.page}")
    return 0


def _without(option: str) -> Launches:
    return dataclasses.replace(DEFAULT, **{option: OTHER_WAYS[option]})


def render(updates: Sequence[Update], others: Mapping[str, Sequence[Update]]) -> str:
    """Return the section below its heading; others: by option, the updates its other way."""
    c = bench_update.CONFIG
    text = [
        "**Estimated, not measured; constants to be fitted by the first `make gpu`.** Written by "
        "`python -m benchmarks.critical_path`. The launches, their tiles and the sampler's plan "
        "are those of the code, recorded on a CPU as an H100 would have them; what each costs is "
        "a model, its constants named with their sources in `benchmarks/h100.py`. "
        f"One seed, K = {c.k}, batch {c.batch_size}, {c.depth} x {c.width} units.",
        "",
        "Bytes count each block's own reads from L2. A step is a load, sum or barrier that the "
        "next one waits for; the longest block works between them. The estimate is their latency, "
        f"and that block's clocks or the time of all bytes, whichever is longer. A node costs a "
        f"gap of {GAP} us more. What nodes of both streams take from each other is left out. An "
        "error of a third would be no surprise.",
        "",
    ]
    for update in updates:
        text += [*_table(update), ""]
    return "\n".join([*text, *_options(updates, others), "", *_savings(updates)])


def _table(update: Update) -> list[str]:
    made = changed(update)
    way = longest(made)
    total, (side, beside) = time_of(way), ways(made)
    text = [
        f"### In {update.precision}",
        "",
        "| node | way | blocks | read, kB | written, kB | Mflop | steps | their latency, us "
        "| estimate, us |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for x in made:
        cells = [f"{value / 1e3:,.0f}" for value in (x.cost.read, x.cost.written)]
        place = "critical" if x in way else "side" if x.side else "beside it"
        text.append(
            f"| {x.name} | {place} | {x.cost.blocks} | "
            f"{' | '.join(cells)} | {x.cost.flops / 1e6:,.1f} | {x.cost.steps} | "
            f"{x.cost.latency / gpu.CLOCK:.1f} | {x.cost.microseconds:.1f} |"
        )
    goal = GOALS[update.precision]
    text += [
        f"| {len(way)} gaps of {GAP} us | critical | | | | | | | {len(way) * GAP:.1f} |",
        f"| **sum of the critical path** | | | | | | | | **{total:.1f}** |",
        "",
        f"The goal is {goal} us: the model {'meets it' if total <= goal else 'misses it'} by "
        f"{abs(goal - total):.0f} us. The side stream takes {time_of(side):.0f} us, what runs "
        f"meanwhile {time_of(beside):.0f} us.",
    ]
    return text


def _options(updates: Sequence[Update], others: Mapping[str, Sequence[Update]]) -> list[str]:
    precisions = [x.precision for x in updates]
    text = [
        "### What the options of the launches save, by the same model",
        "",
        "Each is on; the table says what an update would lose without it, recorded that way. "
        "`make gpu` times both ways of each (`gtp_fast/ops/launches.py`), and every plan of the "
        "sampler: the last row is its plan `counted` against `cluster`.",
        "",
        f"| option | what it does | {' | '.join(f'{x}, us' for x in precisions)} |",
        "|---|---|" + "---:|" * len(precisions),
    ]
    for name, words in BUILT.items():
        pairs = zip(others[name], updates, strict=True)
        cells = [f"{_estimate(x) - _estimate(y) + 0.0:.1f}" for x, y in pairs]
        text.append(f"| `{name}` | {words} | {' | '.join(cells)} |")
    losses = [time_of(longest(changed(x, UNCOUNTED))) - _estimate(x) + 0.0 for x in updates]
    cells = [f"{x:.1f}" for x in losses]
    return [*text, f"| `counted` | {UNCOUNTED.words} | {' | '.join(cells)} |"]


def _estimate(update: Update) -> float:
    return time_of(longest(changed(update)))


def _savings(updates: Sequence[Update]) -> list[str]:
    precisions = [x.precision for x in updates]
    text = [
        "### What planned changes would save, by the same model",
        "",
        "Each alone. A minus: it would cost time. The buffers of the chain in tf32 are planned "
        "too, but change nothing here.",
        "",
        f"| change | {' | '.join(f'{x}, us' for x in precisions)} |",
        "|---|" + "---:|" * len(precisions),
    ]
    now = [_estimate(x) for x in updates]
    for one in CHANGES:
        then = [time_of(longest(changed(x, one))) for x in updates]
        cells = [f"{a - b + 0.0:.1f}" for a, b in zip(now, then, strict=True)]
        text.append(f"| {one.words} | {' | '.join(cells)} |")
    useful = [
        [one for one in CHANGES if time_of(longest(changed(x, one))) <= before]
        for x, before in zip(updates, now, strict=True)
    ]
    after = [time_of(longest(changed(x, *y))) for x, y in zip(updates, useful, strict=True)]
    cells = [f"{x:.1f}" for x in after]
    text.append(f"| **update with all that save something** | {' | '.join(cells)} |")
    verdicts = [
        f"{x} {'meets' if then <= GOALS[x] else 'still misses'} its goal of {GOALS[x]} us"
        for x, then in zip(precisions, after, strict=True)
    ]
    return [*text, "", f"With these, {' and '.join(verdicts)}, by the model."]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"gtp_fast: {error}", file=sys.stderr)
        sys.exit(2)
