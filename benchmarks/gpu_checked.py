"""Part 3 of `make gpu`: the tests that need a GPU, folder by folder, then the sanitizer."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import ROOT
from benchmarks.gpu_report import Place, Record

_TOOLS = ("memcheck", "racecheck", "synccheck")
_FOLDERS = ("tests/csrc", "tests/support", ".")
_WITNESS = """
import sys; sys.path[:0] = sys.argv[1:]
import torch
if not torch.cuda.is_available():
    sys.exit("no CUDA device: nothing was launched")
from test_native_cuda import PRECISIONS, Device, Sizes
for precision in PRECISIONS:
    on = Device(Sizes(O=11, A=3, H=64, K=2), 40, precision)
    for plan in on.sampler.plans():
        on.run(plan)
        on.check()
"""
_COUNTED = re.compile(r"(\d+) (passed|failed|skipped|errors?|deselected)\b")


def sanitizer(place: Place) -> Iterator[Record]:
    """Run every plan under each tool of compute-sanitizer."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not place.dry and not Path(tool).exists():
        yield {"skipped": "compute-sanitizer is not here"}
        return
    program = [sys.executable, "-c", _WITNESS, *(str(ROOT / folder) for folder in _FOLDERS)]
    for name in _TOOLS[:1] if place.dry else _TOOLS:
        options = ["--tool", name, "--error-exitcode", "9", "--report-api-errors", "no"]
        code, said = _said([*([] if place.dry else [tool, *options]), *program], 120)
        refused = "Device not supported" in said or (place.dry and "nothing was launched" in said)
        yield {
            "ok": code == 0 or refused,
            "tool": name,
            "code": code,
            "said": said.strip().splitlines()[-1:],
        }


def tests(place: Place) -> Iterator[Record]:
    """Run the GPU tests of each folder, eight at once where xdist is there.

    Not of each file: eight workers would import PyTorch and find the card again and again."""
    for folder, paths in folders(["tests/ops/test_mlp_gpu.py"] if place.dry else files()).items():
        yield {"folder": folder, **counts_of(paths, place.dry)}


def counts_of(paths: Sequence[str], dry: bool) -> Record:
    """Return the counts of some files' GPU tests.

    ok: some ran, or were skipped in a dry run."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *paths]
    # Without the project's own options: a plugin that they name may be missing there.
    command += ["-o", "addopts=", "--continue-on-collection-errors", "-m", "gpu and not slow"]
    if importlib.util.find_spec("xdist") is not None and not dry:
        command += ["-n", "8"]
    code, said = _said(command, 400)
    counts = {kind.rstrip("s"): int(count) for count, kind in _COUNTED.findall(said[-400:])}
    ran = counts.get("passed", 0) or (dry and counts.get("skipped", 0))
    failed = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return {"ok": code == 0 and bool(ran), **counts, "code": code, "failures": failed}


def files() -> list[str]:
    """Return the test files with GPU tests; others may need packages missing here."""
    marked = re.compile(r"mark\.gpu|from triton_cases import [^)]*?\bpytestmark")
    found = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in found if marked.search(path.read_text())]


def folders(paths: Sequence[str]) -> dict[str, list[str]]:
    """Return the files of each folder, the kernels in CUDA first."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths, key=lambda path: ("/csrc/" not in path, path)):
        found.setdefault(str(Path(path).parent), []).append(path)
    return found


def _said(command: Sequence[str], seconds: float) -> tuple[int, str]:
    """Return exit code and output of a command; 124 where its time ran out."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=dict(os.environ), timeout=seconds, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        said = late.stdout or b""
        return 124, said if isinstance(said, str) else said.decode(errors="replace")
    return done.returncode, done.stdout


STAGES = (("tests", tests), ("sanitizer", sanitizer))
