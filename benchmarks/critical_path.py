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

from benchmarks import ROOT, bench_update, sampler_costs
from benchmarks import h100 as gpu
from benchmarks.h100 import GAP, Design
from benchmarks.report import replace
from benchmarks.update_nodes import Line, Update, lines, longest, record, time_of, ways
from gtp_fast.errors import UserError
from gtp_fast.ops.launches import DEFAULT, OTHER_WAYS, Launches, other_ways

MARKERS = ("<!-- critical path:begin -->", "<!-- critical path:end -->")
GOALS = {"fp32": 150, "bf16": 80}
"""Microseconds of an update, by what its products read."""
GOAL_OF_ACTION = 20
"""Microseconds of one action, from Python."""
NOW = Design()
TITLE = "## One update on a GPU, estimated"
_SIZES = bench_update.OBSERVATIONS, bench_update.ACTIONS


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
TOGETHER = "critics_together"
"""The option that is off."""
UNCOUNTED = Design(counted=False)
"""What the sampler's plan `counted` replaces."""
COUNTS = "blocks of a cluster count what they get, where a barrier fences"


def estimate(update: Update, design: Design = NOW) -> float:
    """Return the microseconds of an update's critical path."""
    return time_of(longest(lines(update, design)))


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
        name: {
            precision: record(bench_update.CONFIG, table, _SIZES, precision, _otherwise(name))
            for precision in GOALS
            if name in other_ways(precision)
        }
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


def _otherwise(option: str) -> Launches:
    return dataclasses.replace(DEFAULT, **{option: OTHER_WAYS[option]})


def render(updates: Sequence[Update], others: Mapping[str, Mapping[str, Update]]) -> str:
    """Return the section below its heading.

    others: by option and precision, the updates its other way.
    """
    c = bench_update.CONFIG
    text = [
        "**Estimated, not measured; constants to be fitted by the first `make gpu`.** Written by "
        "`python -m benchmarks.critical_path`. The launches, their tiles and the sampler's plan "
        "are those of the code, recorded on a CPU as an H100 would have them; what each costs is "
        "a model, its constants named with their sources in `benchmarks/h100.py`. "
        f"One seed, K = {c.k}, batch {c.batch_size}, {c.depth} x {c.width} units.",
        "",
        "Bytes count each block's own reads from L2, and a sector for each number that is stored "
        "apart from others. A step is a load, sum or barrier that the "
        "next one waits for; the longest block works between them. The estimate is their latency, "
        f"and that block's clocks or the time of all bytes, whichever is longer. A node costs a "
        f"gap of {GAP} us more. What nodes of both streams take from each other is left out. An "
        "error of a third would be no surprise.",
        "",
    ]
    for update in updates:
        text += [*_table(update), ""]
    text += [*_options(updates, others), "", *_off(updates, others[TOGETHER]), "", *_action()]
    return "\n".join(text)


def _table(update: Update) -> list[str]:
    made = lines(update, NOW)
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


def _options(updates: Sequence[Update], others: Mapping[str, Mapping[str, Update]]) -> list[str]:
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
        losses = [estimate(others[name][x.precision]) - estimate(x) + 0.0 for x in updates]
        text.append(f"| `{name}` | {words} | {' | '.join(f'{x:.1f}' for x in losses)} |")
    losses = [estimate(x, UNCOUNTED) - estimate(x) + 0.0 for x in updates]
    return [*text, f"| `counted` | {COUNTS} | {' | '.join(f'{x:.1f}' for x in losses)} |"]


def _cost_of(name: str, made: Sequence[Line]) -> float:
    return next(x.cost.microseconds for x in made if x.name == name)


def _off(updates: Sequence[Update], others: Mapping[str, Update]) -> list[str]:
    text = [
        "### What the option that is off would save, by the same model",
        "",
        f"`{TOGETHER}` makes critic pass, TD loss and chain one CUDA kernel of clusters. It is off "
        "until a device has timed it; `make gpu` does. It is built for bf16: in four bytes the "
        "weights of four networks would not fit a cluster. A block takes a multiprocessor's shared "
        "memory, so it also waits where the side stream is still at work, which the model leaves "
        "out.",
        "",
        "| | " + " | ".join(f"{x}, us" for x in others) + " |",
        "|---|" + "---:|" * len(others),
    ]
    before = {x.precision: estimate(x) for x in updates}
    made = {precision: lines(x, NOW) for precision, x in others.items()}
    then = {precision: time_of(longest(x)) for precision, x in made.items()}
    rows = {
        "the kernel": {p: _cost_of("critics", x) for p, x in made.items()},
        "update without it": {x: before[x] for x in others},
        "**update with it**": then,
        "saved": {x: before[x] - then[x] + 0.0 for x in others},
    }
    for words, figures in rows.items():
        text.append(f"| {words} | {' | '.join(f'{x:.1f}' for x in figures.values())} |")
    verdicts = [
        f"{x} {'meets' if time <= GOALS[x] else 'still misses'} its goal of {GOALS[x]} us"
        for x, time in then.items()
    ]
    return [*text, "", f"With it, {' and '.join(verdicts)}, by the model."]


def _action() -> list[str]:
    c = bench_update.CONFIG
    sizes = 1, *_SIZES, c.width, c.depth, c.k
    kernel = {x: sampler_costs.act(sizes, 1, x, NOW).microseconds for x in GOALS}
    called = {x: [time + more for more in gpu.CALL] for x, time in kernel.items()}
    return [
        "### One action, by the same model",
        "",
        f"| batch 1, K = {c.k} | {' | '.join(f'{x}, us' for x in kernel)} |",
        "|---|" + "---:|" * len(kernel),
        f"| the kernel | {' | '.join(f'{x:.1f}' for x in kernel.values())} |",
        f"| from Python | {' | '.join(f'{x:.0f} to {y:.0f}' for x, y in called.values())} |",
        "",
        f"The goal from Python is {GOAL_OF_ACTION} us. What a call, its launch and the wait for "
        "its end add is assumed, and decides: only a device can tell.",
    ]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"gtp_fast: {error}", file=sys.stderr)
        sys.exit(2)
