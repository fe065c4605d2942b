"""The whole of the benchmarks on a GPU: as long as it takes, for benchmarks/results."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import ROOT, resources, results_file
from gtp_fast.errors import UserError

# The cheapest first: a run that is cut short keeps what came before.
BENCHMARKS = (
    "loss", "perturb", "weigh", "td", "embed", "adam", "philox", "mlp", "sampler_gpu", "sampler",
    "data", "update", "run",
)  # fmt: skip
# Exit codes of pytest; a benchmark that ran nothing has measured nothing.
_SAID = {5: "ran nothing", 124: "was out of time"}


def measure(modules: Sequence[Path], folder: Path) -> list[str]:
    """Run every benchmark, write the results; return what failed."""
    failures, raw = [], []
    with tempfile.TemporaryDirectory() as scratch:
        # A cache of our own holds exactly the kernels that this run has launched.
        environment = {**os.environ, "TRITON_CACHE_DIR": f"{scratch}/triton"}
        for name in BENCHMARKS:
            target = Path(scratch) / f"{name}.json"
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]
            command += [f"benchmarks/bench_{name}.py", "--benchmark-only"]
            print(f"\n== benchmark {name}", flush=True)
            code = subprocess.run(
                [*command, f"--benchmark-json={target}"], cwd=ROOT, env=environment
            ).returncode
            if code:
                failures.append(f"benchmark {name} {_SAID.get(code, 'failed')}")
            if target.exists() and target.stat().st_size:
                raw.append(target)
        _write(raw, resources.report(modules, Path(scratch) / "triton"), folder)
    return failures


def _write(raw: Sequence[Path], kernels: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = "gpu"
    try:
        path = results_file.write(results_file.collect(raw), folder)
        name = path.stem
        print(f"\nwrote {path}")
    except UserError as error:
        print(f"gtp_fast: {error}", file=sys.stderr)
    path = folder / f"{name}.resources.txt"
    path.write_text(kernels)
    print(f"wrote {path}")
