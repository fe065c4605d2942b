"""Part 1 of `make gpu`: every plan of the sampler and a whole update against float64."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import gc
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import emulated
import numpy as np
import torch
from folded import Folded, Sizes
from tolerance import assert_as_accurate

from benchmarks.gpu_report import Place, Record, failure, skipped
from gtp_fast.errors import UserError
from gtp_fast.ops import sampler
from gtp_fast.ops.launches import DEFAULT
from gtp_fast.system import machine, native

_SIZES = (
    (Sizes(), 512), (Sizes(K=2), 257), (Sizes(S=3, O=105, A=17, H=100, K=2), 40),
    (Sizes(O=11, A=3, H=512, K=1), 33),
)  # fmt: skip
_DRY = ((Sizes(O=5, A=3, H=32, L=2, K=2), 9),)
Plan = tuple[str, int]


def facts(place: Place) -> Iterator[Record]:
    """Say what the machine is."""
    yield dict(machine.environment())
    if not place.dry:
        card = torch.cuda.get_device_properties(place.device)
        yield {
            "card": card.name,
            "capability": f"{card.major}.{card.minor}",
            "multiprocessors": card.multi_processor_count,
            "native": native.missing("cuda") or "runs here",
        }


class Plans:
    """One policy's plans on the device, or in the emulation of a dry run."""

    def __init__(self, place: Place, policy: Folded, precision: str):
        self.place, self.policy, self.precision = place, policy, precision
        if not place.dry:
            self.made = native.module().CudaSampler(*policy.arguments(), precision=precision)

    def all(self) -> list[Plan]:
        """Return every plan that runs here."""
        if self.place.dry:
            return [(path, n) for path, n, p in emulated.PLANS if p == self.precision]
        plans: list[Plan] = self.made.plans()
        return plans

    def run(self, plan: Plan, rows: int) -> np.ndarray:
        """Return the actions of the policy's own inputs."""
        if self.place.dry:
            return emulated.run(_emulator(), self.policy, *plan, self.precision, rows)
        inputs = self.policy.inputs(rows)
        observation, noise, out = (torch.tensor(x, device=self.place.device) for x in inputs)
        flat = torch.tensor(self.policy.flat(), device=self.place.device)
        stream = torch.cuda.current_stream(self.place.device).cuda_stream
        self.made.load(flat.data_ptr(), flat.numel(), self.policy.initial_scale, stream)
        out.fill_(torch.nan)
        pointers = (x.data_ptr() for x in (observation, noise, out))
        self.made.sample(*pointers, rows, stream, plan)
        return out.cpu().numpy()


@functools.cache
def _emulator() -> ctypes.CDLL:
    # Loaded, so the file is no longer needed.
    with tempfile.TemporaryDirectory() as folder:
        return emulated.build(Path(folder))


def plans(place: Place) -> Iterator[Record]:
    """Hold every plan of every precision to the rule of the tests."""
    for sizes, rows in _DRY if place.dry else _SIZES:
        for precision in emulated.PRECISIONS:
            policy = Folded(sizes)
            observation, noise, _ = policy.inputs(rows)
            exact = policy.exact(observation, noise)
            plain = emulated.plain(policy, observation, noise, precision)
            of = Plans(place, policy, precision)
            for plan in of.all():
                about = {
                    "precision": precision,
                    "plan": f"{plan[0]} {plan[1]}",
                    "rows": rows,
                    "width": sizes.H,
                }
                try:
                    found = of.run(plan, rows)
                except RuntimeError as error:
                    yield {**about, **failure(error)}
                    continue
                wrong, allowed = (float(np.abs(x - exact).max()) for x in (found, plain))
                yield {
                    "ok": _as_accurate(f"{plan}", found, plain, exact),
                    **about,
                    "error": f"{wrong:.1e}",
                    "plain": f"{allowed:.1e}",
                }


def update(place: Place) -> Iterator[Record]:
    """Hold an update's gradients to plain PyTorch's at the same precision."""
    from benchmarks import bench_update

    work = bench_update.Update((1, 2) if place.dry else (1, 5), place.device)
    if place.dry:
        work.shrink()
    ways = [(x, DEFAULT) for x in (("fp32",) if place.dry else emulated.PRECISIONS)]
    if not place.dry:
        ways.append(("bf16", dataclasses.replace(DEFAULT, critics_together=True)))
    for precision, work.launches in ways:
        about = {"precision": precision, "critics_together": work.launches.critics_together}
        began = time.perf_counter()
        try:
            fast, plain, exact = work.judged(precision)
        except UserError as reason:
            yield {**about, **skipped(reason, work.launches)}
            continue
        except Exception as error:
            # The other precisions are judged all the same.
            yield {**about, **failure(error)}
            continue
        for name, gradient in fast.items():
            yield {
                "ok": _as_accurate(name, gradient, plain[name], exact[name]),
                **about,
                "of": name,
                "error": f"{_relative(gradient, exact[name]):.1e}",
                "plain": f"{_relative(plain[name], exact[name]):.1e}",
                "seconds": round(time.perf_counter() - began, 1),
            }


def probes(place: Place) -> Iterator[Record]:
    """Ask what may spoil a recording or a sampler made beside other work."""
    if place.dry:
        yield {"skipped": "a collector in a recording and a sampler on a side stream need a GPU"}
        return
    policy, device = Folded(Sizes()).policy().to(place.device), place.device
    x, graph = torch.zeros(8, device=device), torch.cuda.CUDAGraph()
    gone: Any = sampler.NativeSampler(policy)
    gone.itself = gone
    del gone
    try:
        with torch.cuda.graph(graph):
            x += 1
            gc.collect()
            x += 1
        graph.replay()
        yield {"ok": float(x[0]) == 2.0, "of": "a sampler freed inside a recording"}
    except RuntimeError as error:
        yield {"ok": False, "of": "a sampler freed inside a recording", "said": str(error)[:200]}
    inputs = [torch.randn(1, 64, n, device=device) for n in (29, 8)]
    want = sampler.NativeSampler(policy).sample(*inputs)
    torch.cuda.synchronize()
    torch.cuda._sleep(200_000_000)
    with torch.cuda.stream(torch.cuda.Stream()):
        got = sampler.NativeSampler(policy).sample(*inputs)
    torch.cuda.synchronize()
    yield {"ok": torch.equal(want, got), "of": "a sampler made on a side stream"}


def _as_accurate(name: str, *three: Any) -> bool:
    try:
        assert_as_accurate(name, *(torch.as_tensor(x).cpu() for x in three))
    except AssertionError:
        return False
    return True


def _relative(found: torch.Tensor, exact: torch.Tensor) -> float:
    exact = exact.double()
    return float((found.double() - exact).norm() / exact.norm())


STAGES = (("machine", facts), ("plans", plans), ("update", update), ("probes", probes))
