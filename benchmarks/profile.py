"""python -m benchmarks.profile: where the time of an update goes on this CPU.

Each part against its arithmetic floor, the whole against its rivals; writes docs/performance.md
with a figure.


Times are of the processor, not of the clock on the wall, so that neighbours on the machine change
them little; all rows are measured in turns. The parts of an update are by the clock on the wall.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import ROOT
from benchmarks import update_rivals as rivals
from benchmarks.bench_update import ACTIONS, CONFIG, OBSERVATIONS, table
from benchmarks.critical_path import MARKERS, TITLE
from benchmarks.memory import state_bytes
from benchmarks.plain_update import PlainUpdate
from benchmarks.report import replace
from benchmarks.workload import Unavailable
from gtp_fast.agents.gtp import GTP, GTPConfig
from gtp_fast.agents.setup import Setup
from gtp_fast.errors import UserError
from gtp_fast.system import machine, native

PARTS = ("sampler", "perceptrons, forward", "perceptrons, backward", "optimiser and averages")
Parts = tuple[dict[str, float], float]
CLOCKS = "The parts are wall-clock time, the whole is processor time; all else is their difference."
REST = "all else: drawing, losses, copies, Python"
ACTION = """\
## How one action gets to microseconds

- What no observation changes is folded once: the embedding of the fixed times and the
  coefficients of the steps.
- The observation's part of the first layer is computed once an action, not K times.
- The rest is one pass over weights packed in the order in which they are read, with mish by one
  exponential.
- Nothing is allocated, and no Python runs between the steps.
- What is left is the second-level cache: a core reads 32 bytes a cycle. So hidden weights of two
  bytes or one make an action faster still.
"""


def main(argv: Sequence[str]) -> int:
    """Measure, write, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--output", type=Path, default=ROOT / "docs")
    options = parser.parse_args(argv)
    if reason := native.missing():
        raise UserError(f"There is nothing to profile: {reason}.")
    torch.set_num_threads(1)
    # Read when JAX is first imported: one thread for it as well.
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    peak = matrix_rate()
    parts, total = profile("fp32", options.rounds)
    try:
        rounded: Parts | None = profile("bf16", options.rounds)
    except UserError:
        rounded = None
    whole = {k: race(dataclasses.replace(CONFIG, k=k), options.rounds) for k in (5, 2)}
    seeds = {s: per_seed(s, options.rounds) for s in (1, 5, 16, 64)}
    options.output.mkdir(parents=True, exist_ok=True)
    text = render((parts, total), rounded, peak, whole, seeds, startup())
    page = options.output / "performance.md"
    page.write_text(keep_estimate(text, page.read_text() if page.exists() else ""))
    draw(parts, peak, options.output / "performance.svg")
    print(f"wrote {page}")
    return 0


def keep_estimate(text: str, before: str) -> str:
    """Return a new page with the estimate that the page before it held."""
    begin, end = MARKERS
    return replace(text, before.partition(begin)[2].partition(end)[0].strip("\n"), "", MARKERS)


WAYS = {
    "eager, reference": ("reference", "fp32"),
    "fused": ("fused", "fp32"),
    "fused, products in bf16": ("fused", "bf16"),
}


def operations(config: GTPConfig) -> dict[str, float]:
    """Return the multiply-adds, counted twice, of each part of an update of one seed."""
    b, h = config.batch_size, config.width
    hidden = (config.depth - 1) * h * h
    actor_in = ACTIONS + 32 + OBSERVATIONS
    actor, critic = actor_in * h + hidden + h * ACTIONS, (OBSERVATIONS + ACTIONS) * h + hidden + h
    clocks = 2 * (16 * 32 + 32 * 16)
    sampler = OBSERVATIONS * h + config.k * (ACTIONS * h + hidden + h * ACTIONS)
    forward = 2 * critic * (b + b + 2 * b) + (actor + clocks) * (b + 2 * b)
    # Weights take as much as the forward pass; inputs the same but for the first layer.
    critic_back = 2 * critic - (OBSERVATIONS + ACTIONS) * h
    actor_back = 2 * (actor + clocks) - (ACTIONS + OBSERVATIONS) * h
    backward = 2 * b * critic_back + 2 * b * actor_back
    counted = (2.0 * 2 * b * sampler, 2.0 * forward, 2.0 * backward, 0.0)
    return dict(zip(PARTS, counted, strict=True))


def matrix_rate() -> float:
    """Return the float32 operations a second of the machine's own products, the best of many."""
    a, b = torch.randn(256, 256), torch.randn(256, 256)
    return 2 * 256**3 / min(timed(lambda: a @ b) for _ in range(200))


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds of this processor that some work takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def agent_of(config: GTPConfig, backend: str, seeds: int = 1, precision: str = "fp32") -> GTP:
    """Return an agent ready to train."""
    own = ("cpu", backend, torch.float32, precision)
    agent = GTP(config, Setup(OBSERVATIONS, ACTIONS, range(seeds), *own))
    agent.prepare(100_000)
    agent.update(table(), 0)
    return agent


def profile(precision: str, rounds: int) -> Parts:
    """Return the median seconds of an update of one seed, and of its parts."""
    agent, resident = agent_of(CONFIG, "fused", precision=precision), table()
    update: Any = agent.do
    rows: list[list[float]] = []
    totals = []
    for step in range(4 * rounds):
        before = update.native.spent
        totals.append(timed(lambda: agent.update(resident, step)))  # noqa: B023
        rows.append([b - a for a, b in zip(before, update.native.spent, strict=True)])
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    parts, total = dict(zip(PARTS, medians, strict=True)), statistics.median(totals)
    return parts | {REST: total - sum(medians)}, total


def race(config: GTPConfig, rounds: int) -> dict[str, float | str]:
    """Return the seconds of an update by each way, or why a way is missing."""
    resident, plain = table(), PlainUpdate(agent_of(config, "reference"))
    ways: dict[str, tuple[Callable[[], Any], int]] = {
        "as first written": (lambda: plain.update(resident, 0), 1)
    }
    results: dict[str, float | str] = {}
    for name, own in WAYS.items():
        try:
            agent = agent_of(config, own[0], precision=own[1])
        except UserError as reason:
            results[name] = str(reason)
            continue
        ways[name] = (lambda agent=agent: agent.update(resident, 3), 1)
    try:
        module = rivals.jax_module()
        rival, rows = module.JaxUpdate(agent_of(config, "reference")), resident.rows.numpy()
        ways["JAX, jit and scan of 8"] = (lambda: module.advance(rival, rows, 8), 8)
    except Unavailable as reason:
        results["JAX, jit and scan of 8"] = str(reason)
    spent: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds + 1):
        for name, (work, count) in ways.items():
            spent[name].append(timed(lambda: [work() for _ in range(8 // count)]) / 8)  # noqa: B023
    return {name: statistics.median(times[1:]) for name, times in spent.items()} | results


def per_seed(seeds: int, rounds: int) -> tuple[float, int]:
    """Return the seconds per seed of an update of many seeds, and the learners' bytes."""
    agent, resident = agent_of(CONFIG, "fused", seeds), table()
    spent = [timed(lambda: agent.update(resident, 3)) for _ in range(rounds)]
    return statistics.median(spent) / seeds, state_bytes(agent)


def startup() -> float:
    """Return the seconds on the wall from a fresh interpreter to the end of a first update."""
    code = "from benchmarks.profile import CONFIG, agent_of; agent_of(CONFIG, 'auto')"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    return time.perf_counter() - began


def render(
    full: Parts,
    rounded: Parts | None,
    peak: float,
    whole: dict[int, dict[str, float | str]],
    seeds: dict[int, tuple[float, int]],
    first_update: float,
) -> str:
    """Return the page."""
    facts, counted, (parts, total) = machine.environment(), operations(CONFIG), full
    lines = [
        "# Where the time of an update goes",
        "",
        "Written by `python -m benchmarks.profile`; do not edit.",
        "",
        f"One core of **{facts['processor']}**, {native.describe().split(',')[0]}, torch "
        f"{facts['torch']}, batch {CONFIG.batch_size}, {CONFIG.depth} x {CONFIG.width} units, "
        f"observations of {OBSERVATIONS} and actions of {ACTIONS} numbers, float32. Medians of "
        "processor time, rows in turns. PyTorch multiplies 256 x 256 matrices here at "
        f"{peak / 1e9:.0f} Gflop/s; a floor is a part's own arithmetic at that rate, activations "
        "and memory left out.",
        "",
        "## Whole update, one seed",
        "",
        "| | K = 5, ms | ratio | K = 2, ms | ratio |",
        "|---|---:|---:|---:|---:|",
    ]
    base = {k: rows["as first written"] for k, rows in whole.items()}
    for name in whole[5]:
        cells = []
        for k in (5, 2):
            value = whole[k][name]
            if isinstance(value, str):
                cells += [value, "-"]
            else:
                cells += [f"{value * 1e3:.1f}", f"{float(base[k]) / value:.2f}x"]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    lines += ["", "## Parts of the fused update, K = 5", "", CLOCKS, ""]
    lines += ["![parts](performance.svg)", ""]
    lines += ["| part | ms | share | floor, ms | ms in bf16 |", "|---|---:|---:|---:|---:|"]
    floors = {name: count / peak for name, count in counted.items()}
    low = rounded[0] | {"whole": rounded[1]} if rounded else {}
    for name, seconds in [*parts.items(), ("whole", total)]:
        floor = sum(floors.values()) if name == "whole" else floors.get(name)
        cells = [
            f"{x * 1e3:.{digits}f}" if x else "-" for x, digits in ((floor, 1), (low.get(name), 2))
        ]
        lines.append(
            f"| {name} | {seconds * 1e3:.2f} | {seconds / total:.0%} | {' | '.join(cells)} |"
        )
    lines += ["", "## Many seeds in one process, K = 5, one thread", ""]
    lines += ["| seeds | ms for each | state of all, MB |", "|---:|---:|---:|"]
    lines += [
        f"| {count} | {seconds * 1e3:.1f} | {size / 1e6:.0f} |"
        for count, (seconds, size) in seeds.items()
    ]
    lines += ["", f"From a fresh interpreter to the end of the first update: {first_update:.1f} s."]
    return "\n".join([*lines, "", TITLE, "", *MARKERS, "", ACTION])


def draw(parts: dict[str, float], peak: float, path: Path) -> None:
    """Draw the parts as bars with their floors, as a plain SVG."""
    counted, widest = operations(CONFIG), max(parts.values())
    rows = []
    for i, (name, seconds) in enumerate(parts.items()):
        y, length = 20 + 34 * i, 380 * seconds / widest
        rows.append(f'<text x="300" y="{y + 15}" text-anchor="end">{name}</text>')
        rows.append(f'<rect x="310" y="{y}" width="{length:.0f}" height="22" fill="#4878a8"/>')
        if counted.get(name):
            floor = 380 * counted[name] / peak / widest
            rows.append(
                f'<rect x="310" y="{y + 6}" width="{floor:.0f}" height="10" fill="#c8d8e8"/>'
            )
        rows.append(f'<text x="{318 + length:.0f}" y="{y + 15}">{seconds * 1e3:.1f} ms</text>')
    height = 34 * len(parts) + 40
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="780" height="{height}" '
        'font-family="sans-serif" font-size="13">'
        '<rect width="100%" height="100%" fill="white"/>'
        + "".join(rows)
        + f'<text x="310" y="{height - 8}">light: floor of the arithmetic</text></svg>\n'
    )


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"gtp_fast: {error}", file=sys.stderr)
        sys.exit(2)
