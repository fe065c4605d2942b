"""Part 2 of `make gpu`: the update by engine, its nodes, and every plan of the sampler."""

from __future__ import annotations

import collections
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import emulated
import torch
from folded import Folded, Sizes
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks import bench_update, recorded
from benchmarks.bench_sampler_gpu import in_a_graph
from benchmarks.gpu_report import Place, Record, failure, skipped
from benchmarks.gpu_right import Plans
from benchmarks.workload import OURS, Row, Unavailable
from gtp_fast.errors import UserError
from gtp_fast.ops.launches import other_ways
from gtp_fast.ops.sampler import NativeSampler

# The most telling first: what a cut leaves out is the least missed.
_ROWS: tuple[Row, ...] = (bench_update.BF16, bench_update.TF32, OURS, bench_update.CAPTURED)
_CASES = ((1, 5), (1, 2), (5, 5), (16, 5))
_BATCHES = (1, 16, 64, 256, 512, 1024, 4096, 16384)


def updates(place: Place) -> Iterator[Record]:
    """Time recorded updates of every engine by the device's clock."""
    if place.dry:
        yield from _timed(place, (1, 2), (bench_update.CAPTURED, OURS))
        return
    yield from _timed(place, _CASES[0], _ROWS)
    for case in _CASES[1:]:
        yield from _timed(place, case, _ROWS[:3])


def compiled(place: Place) -> Iterator[Record]:
    """Time the reference compiled, whose compilation takes minutes."""
    if place.dry:
        yield {"skipped": "a dry run compiles nothing"}
        return
    yield from _timed(place, _CASES[0], (bench_update.COMPILED,))


def launches(place: Place) -> Iterator[Record]:
    """Time an update as it is, then with each option of its launches reversed."""
    for row in (OURS,) if place.dry else (bench_update.BF16, OURS):
        others = {} if place.dry else other_ways(bench_update.RECORDED[row][1])
        for name in (None, *others):
            work, ways = _work(place), {name: others[name]} if name else {}
            work.launches = dataclasses.replace(work.launches, **ways)
            about = {"row": row.name, "option": name or "as it is", **ways}
            yield _figures(place, work, row, about, lambda made: _time(place, made))


def _timed(place: Place, case: tuple[int, int], rows: Sequence[Row]) -> Iterator[Record]:
    work = _work(place, case)
    for row in rows:
        about = {"seeds": case[0], "K": case[1], "row": row.name}
        yield _figures(place, work, row, about, lambda made: _both(place, made))


def _work(place: Place, case: tuple[int, int] = _CASES[0]) -> bench_update.Update:
    """Return the updates of a case, small ones in a dry run."""
    work = bench_update.Update((1, 2) if place.dry else case, place.device)
    if place.dry:
        work.shrink()
    return work


def _figures(
    place: Place,
    work: bench_update.Update,
    row: Row,
    about: Record,
    measure: Callable[[recorded.Recorded], Record],
) -> Record:
    """Return what is measured of a row's recorded updates, or why it is skipped or failed."""
    try:
        made = work.replayed(row, 2 if place.dry else recorded.PIECE)
        return {**about, **measure(made)}
    except Unavailable as reason:
        return {**about, "skipped": str(reason)}
    except UserError as reason:
        return {**about, **skipped(reason, work.launches)}
    except Exception as error:
        # A row that fails costs no other one its time on a lent card.
        return {**about, **failure(error)}


def _time(place: Place, made: recorded.Recorded) -> Record:
    microseconds = made.microseconds(*((1, 1) if place.dry else ()))
    return {"us_an_update": round(microseconds, 2)}


def _both(place: Place, made: recorded.Recorded) -> Record:
    """Return the time of an update in a recording, and by single calls."""
    replayed = _time(place, made)
    alone = [_eager(made) for _ in range(1 if place.dry else 5)]
    single = {"us_by_single_calls": round(statistics.median(alone), 1)}
    return {"ok": not made.watch.diverged(), **replayed, **single}


def _eager(made: recorded.Recorded) -> float:
    now = recorded.clock()
    began = now()
    made.agent.update(made.engine.table, made.step)
    return (now() - began) * 1e6


class Span(NamedTuple):
    """When a kernel ran, in microseconds."""

    start: float
    end: float
    name: str


def nodes(place: Place) -> Iterator[Record]:
    """Time each node of an update, and the gaps in which no kernel runs."""
    work = _work(place)
    for row in (OURS,) if place.dry else _ROWS[:3]:
        yield _figures(place, work, row, {"row": row.name}, lambda made: _profiled(place, made))


def _profiled(place: Place, made: recorded.Recorded) -> Record:
    activity = ProfilerActivity.CPU if place.dry else ProfilerActivity.CUDA
    with profile(activities=[activity]) as seen:
        count = made.run(1 if place.dry else 4)
        if not place.dry:
            torch.cuda.synchronize()
    return summary(spans_of(seen.events(), DeviceType.CPU if place.dry else DeviceType.CUDA), count)


def spans_of(events: Any, device: DeviceType) -> list[Span]:
    """Return what a device ran: a profile of a GPU also holds the host's calls and waits."""
    own = [event for event in events if event.device_type == device]
    return [Span(e.time_range.start, e.time_range.end, e.name) for e in own]


def summary(spans: Sequence[Span], updates: int) -> Record:
    """Return an update's nodes, its time, that at work, and each kernel's."""
    kernels: dict[str, list[float]] = collections.defaultdict(list)
    busy, end = 0.0, float("-inf")
    for span in sorted(spans):
        kernels[span.name[:60]].append(span.end - span.start)
        busy += max(0.0, span.end - max(span.start, end))
        end = max(end, span.end)
    whole = end - min(span.start for span in spans)
    each = {
        name: {
            "us": round(sum(times) / updates, 2),
            "times": round(len(times) / updates, 2),
            "median_us": round(statistics.median(times), 2),
        }
        for name, times in sorted(kernels.items(), key=lambda item: -sum(item[1]))
    }
    return {
        "nodes": round(len(spans) / updates, 2),
        "us": round(whole / updates, 2),
        "us_at_work": round(busy / updates, 2),
        "kernels": each,
    }


def sampler(place: Place) -> Iterator[Record]:
    """Time every plan in a graph, and the chosen one from Python."""
    for precision in emulated.PRECISIONS:
        policy = Folded(Sizes(O=5, A=3, H=32, L=2, K=2) if place.dry else Sizes())
        if place.dry:
            of = Plans(place, policy, precision)
            plan = of.all()[0]
            wall = _wall(lambda of=of, plan=plan: of.run(plan, 2), 1)
            yield {**_cell(precision, 2, plan), "us": round(wall, 2)}
            continue
        made = NativeSampler(policy.policy().to(place.device), precision)
        for batch in _BATCHES:
            yield from _plans(made, precision, batch)


def _plans(made: NativeSampler, precision: str, batch: int) -> Iterator[Record]:
    device = made.like.device
    observation, noise = (torch.randn(1, batch, n, device=device) for n in (29, 8))
    out = torch.empty_like(noise)
    pointers = observation.data_ptr(), noise.data_ptr(), out.data_ptr()
    chosen = made.native.plan(batch)
    for plan in made.native.plans():
        if batch > 128 * plan[1] and plan != chosen:
            continue

        def launch(plan: tuple[str, int] = plan) -> None:
            stream = torch.cuda.current_stream(device).cuda_stream
            made.native.sample(*pointers, batch, stream, plan)

        about = {**_cell(precision, batch, plan), "chosen": plan == chosen}
        try:
            yield {**about, "us": round(in_a_graph(launch), 2)}
        except RuntimeError as error:
            yield {**about, **failure(error)}

    def call() -> None:
        made.sample(observation, noise)
        torch.cuda.synchronize()

    yield {"precision": precision, "batch": batch, "us_from_python": round(_wall(call, 200), 1)}


def _cell(precision: str, batch: int, plan: tuple[str, int]) -> Record:
    return {"precision": precision, "batch": batch, "plan": f"{plan[0]} {plan[1]}"}


def _wall(call: Callable[[], object], count: int) -> float:
    for _ in range(min(20, count)):
        call()
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) * 1e6 / count


STAGES = (
    ("update", updates), ("nodes", nodes), ("sampler", sampler), ("launches", launches),
    ("compiled", compiled),
)  # fmt: skip
"""The most telling first, what takes long last: a cut leaves out the end."""
