"""python -m benchmarks.gpu: all that only a GPU can show, in a few minutes and without a network.

Builds the native extension where its CUDA part is missing, runs the tests that need a GPU, measures
every benchmark, and writes results/<device>.json with the resources of every kernel beside it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import RESULTS, ROOT, resources, results_file
from gtp_fast.errors import UserError

# The cheapest first: a run that is cut short keeps what came before.
_BENCHMARKS = (
    "loss", "perturb", "weigh", "td", "embed", "adam", "philox", "mlp", "sampler_gpu", "sampler",
    "data", "update", "run",
)  # fmt: skip
_PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")


class Budget:
    """Runs commands one after another, none of them beyond the common deadline."""

    def __init__(self, seconds: float):
        self.end = time.monotonic() + seconds

    def run(self, title: str, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Return the command's exit code, or 124 when the time ran out."""
        left = self.end - time.monotonic()
        print(f"\n== {title} ({left:.0f} s left)", flush=True)
        if left < 1:
            return 124
        try:
            done = subprocess.run(
                command, cwd=ROOT, env={**os.environ, **environment}, timeout=left
            )
        except subprocess.TimeoutExpired:
            print(f"gtp_fast: {title}: out of time", file=sys.stderr)
            return 124
        return done.returncode


def main(argv: Sequence[str]) -> int:
    """Return 0 when everything passed or there is no GPU, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--seconds", type=float, default=450, help="time for everything")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write into")
    options = parser.parse_args(argv)
    if reason := missing_gpu():
        print(f"skipped: {reason}")
        return 0
    budget = Budget(options.seconds)
    failures = []
    print(f"native extension: {native_missing() or 'up to date'}")
    if native_missing():
        build = (sys.executable, "setup.py", "build_ext", "--inplace")
        budget.run("build of the native extension", build, {"GTP_FAST_CUDA": "on"})
        if reason := native_missing():
            failures.append(f"native extension ({reason})")
    with tempfile.TemporaryDirectory() as scratch:
        # A cache of our own holds exactly the kernels that this run has launched.
        environment = {"TRITON_CACHE_DIR": f"{scratch}/triton"}
        if budget.run("tests", (*_PYTEST, "-q", "-m", "gpu", *gpu_tests()), environment):
            failures.append("tests")
        options.results.mkdir(parents=True, exist_ok=True)
        kernels = resources.report(native_modules(), Path(scratch) / "triton")
        raw = []
        for name in _BENCHMARKS:
            target = Path(scratch) / f"{name}.json"
            command = (
                *_PYTEST,
                "-q",
                f"benchmarks/bench_{name}.py",
                "--benchmark-only",
                f"--benchmark-json={target}",
            )
            # 5: nothing to run, as where a package that a benchmark is about is not installed.
            if budget.run(f"benchmark {name}", command, environment) not in (0, 5):
                failures.append(f"benchmark {name}")
            if target.exists() and target.stat().st_size:
                raw.append(target)
        _write(raw, kernels, options.results)
    print(f"\n{'failed: ' + ', '.join(failures) if failures else 'everything passed'}")
    return 1 if failures else 0


def missing_gpu() -> str:
    """Return why nothing can run on a GPU here, or an empty string."""
    try:
        import torch
    except ImportError as error:
        return f"torch cannot be imported ({error})"
    return "" if torch.cuda.is_available() else "torch sees no CUDA device here"


def native_missing() -> str:
    """Return why the native extension must be built, or an empty string."""
    modules = native_modules()
    sources = [ROOT / "setup.py", *(ROOT / "csrc").rglob("*")]
    if modules and max(p.stat().st_mtime for p in sources) > modules[0].stat().st_mtime:
        return "older than its sources"
    # In a process of its own, for this one could not load it again once it is built.
    code = "from gtp_fast.system import native; print(native.missing('cuda'))"
    done = subprocess.run(
        (sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def native_modules() -> list[Path]:
    """Return the extension in the checkout that fits this interpreter, if it is there."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return list((ROOT / "gtp_fast").glob(f"_native{suffix}"))


def gpu_tests() -> list[str]:
    """Return the test files with GPU tests; others may need packages missing here."""
    marked = re.compile(r"mark\.gpu|from triton_cases import [^)]*?\bpytestmark")
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in files if marked.search(path.read_text())]


def _write(raw: Sequence[Path], kernels: str, folder: Path) -> None:
    name = "gpu"
    try:
        record = results_file.collect(raw)
        path = results_file.write(record, folder)
        name = path.stem
        print(f"\nwrote {path}")
    except UserError as error:
        print(f"gtp_fast: {error}", file=sys.stderr)
    path = folder / f"{name}.resources.txt"
    path.write_text(kernels)
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
