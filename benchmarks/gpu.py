"""python -m benchmarks.gpu: what only a GPU shows, in at most 27 minutes.

Part 1 holds every plan of the sampler and an update to float64; part 2 times the update, its nodes
and the sampler; part 3 runs the tests that need a GPU and the sanitizer. Each prints and writes
results/gpu/partN.json as it goes. Part `all` measures every benchmark, however long it takes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from benchmarks import RESULTS, ROOT
from gtp_fast.errors import UserError

PARTS = ("1", "2", "3")
_MODULES = {"1": "gpu_right", "2": "gpu_fast", "3": "gpu_checked"}
_SITE = ROOT / "build" / "gpu-site"
# What a part may overrun: the last record of a stage, and the start of Python.
_GRACE = 60


def main(argv: Sequence[str]) -> int:
    """Return 0 when everything passed or there is no GPU, 1 otherwise."""
    options = _parse(argv)
    if not options.dry and (reason := missing_gpu()):
        print(f"skipped: {reason}")
        return 0
    if options.one:
        return 0 if one(options) else 1
    failures = prepare(options.bundle) if not options.dry else []
    for part in options.part:
        if part == "all":
            from benchmarks import gpu_all

            failures += gpu_all.measure(native_modules(), options.results)
        elif code := start(part, options):
            failures.append(f"part {part} {'was cut' if code == 124 else 'failed'}")
    print(f"\n{'failed: ' + ', '.join(failures) if failures else 'everything passed'}")
    return 1 if failures else 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--part", nargs="+", choices=(*PARTS, "all"), default=PARTS)
    parser.add_argument("--seconds", type=float, default=480, help="time for each part")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write into")
    parser.add_argument("--bundle", type=Path, help="file that benchmarks.gpu_bundle has made")
    parser.add_argument("--dry", action="store_true", help="on this CPU, in small, by emulation")
    parser.add_argument("--one", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def start(part: str, options: argparse.Namespace) -> int:
    """Run a part in its own process; return its exit code, 124 when cut.

    A fault on the device ends its process, and the next part starts with a sound one.
    """
    print(f"\n== part {part}, at most {options.seconds + _GRACE:.0f} s", flush=True)
    command = [sys.executable, "-m", "benchmarks.gpu", "--one", part]
    command += ["--results", str(options.results), "--seconds", str(options.seconds)]
    command += ["--dry"] * options.dry
    paths = (str(_SITE), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        limit = options.seconds + _GRACE
        return subprocess.run(command, cwd=ROOT, env=environment, timeout=limit).returncode
    except subprocess.TimeoutExpired:
        print(f"gtp_fast: part {part}: out of time", file=sys.stderr)
        return 124


def one(options: argparse.Namespace) -> bool:
    """Run a part in this process; return whether all is as it should be."""
    import importlib

    from benchmarks import gpu_report

    place = gpu_report.Place.here(options.dry)
    stages = importlib.import_module(f"benchmarks.{_MODULES[options.one]}").STAGES
    path = options.results / "gpu" / f"part{options.one}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    report = gpu_report.Report(path, {"part": options.one, "dry": options.dry})
    good = gpu_report.run(stages, place, report, options.seconds)
    print(f"wrote {path}")
    return good


def prepare(bundle: Path | None) -> list[str]:
    """Unpack what was brought along, build what is missing; return what failed."""
    if bundle is not None:
        from benchmarks import gpu_bundle

        print("\n".join(gpu_bundle.unpack(bundle, _SITE, ROOT / "gtp_fast")))
    print(f"native extension: {native_missing() or 'up to date'}")
    if native_missing():
        build = (sys.executable, "setup.py", "build_ext", "--inplace")
        subprocess.run(build, cwd=ROOT, env={**os.environ, "GTP_FAST_CUDA": "on"})
        if reason := native_missing():
            return [f"native extension ({reason})"]
    return []


def missing_gpu() -> str:
    """Return why nothing can run on a GPU here, or an empty string."""
    try:
        import torch
    except ImportError as error:
        return f"torch cannot be imported ({error})"
    return "" if torch.cuda.is_available() else "torch sees no CUDA device here"


def native_missing() -> str:
    """Return why the native extension must be built, or an empty string."""
    # In a process of its own, for this one could not load it again once it is built.
    code = (
        "from gtp_fast.system import native as n\n"
        "print(n.missing() or ('' if n.module().cuda else n.module().cuda_reason))"
    )
    done = subprocess.run(
        (sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def native_modules() -> list[Path]:
    """Return the extension in the checkout that fits this interpreter, if it is there."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return list((ROOT / "gtp_fast").glob(f"_native{suffix}"))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"gtp_fast: {error}", file=sys.stderr)
        sys.exit(2)
