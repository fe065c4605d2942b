"""C++ under the compiler's sanitizers: the policy header, the thread team, the kernels of the CPU.

`python tests/faults/sanitize.py [header] [team] [kernels]` runs those parts, by default all, and
prints a line each. A part is skipped, with its reason, where g++ has no such sanitizer.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1] / room) for room in ("support", "faults")]

import packed_policies
from folded import Sizes
from mutate import mutate, signed

from gtp_fast.policy import file

ROOT = Path(__file__).parents[2]
MEMORY = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FILES, SEED = 5000, 1
# It starts Python without the libraries that must be loaded first.
_UNSET = "test_sampler_fit.py::test_an_instruction_set_can_be_forced"
_TESTS = ("tests/ops", "tests/agents/test_update_cpu.py", "--deselect", f"tests/ops/{_UNSET}")
_STRICT = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}


def missing(library: str) -> str:
    """Return why a sanitizer is not available here, or an empty string."""
    compiler = shutil.which("g++")
    if compiler is None:
        return "no g++ here"
    return "" if Path(_library(library)).is_absolute() else f"g++ has no {library} here"


def _library(name: str) -> str:
    command = ["g++", f"-print-file-name={name}.so"]
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout.strip()


def _compiled(folder: Path, source: str, *flags: str) -> Path:
    program = folder / Path(source).stem
    command = ["g++", "-std=c++17", "-g", "-O1", *flags, str(ROOT / source), "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def header(folder: Path, count: int = FILES, seed: int = SEED) -> str:
    """Feed broken policies to the header under ASan and UBSan; return what came of them."""
    include = f"-I{ROOT / 'gtp_fast' / 'export' / 'files'}"
    program = _compiled(folder, "tests/faults/policy_driver.cpp", include, *MEMORY)
    sound = file.pack(packed_policies.make(Sizes(O=4, A=2, H=8, L=2, K=2)))
    draw, totals = random.Random(seed), [0, 0, 0]
    for begin in range(0, count, 250):
        paths = [folder / f"{i}.gtp" for i in range(min(250, count - begin))]
        for path in paths:
            broken = mutate(sound, draw)
            path.write_bytes(signed(broken) if draw.random() < 0.8 else broken)
        found = subprocess.run(
            [program], input="\n".join(map(str, paths)), text=True, capture_output=True,
            timeout=300, check=False, env=os.environ | _STRICT,
        )  # fmt: skip
        if found.returncode:
            return f"FAILED in files {begin:,} to {begin + 249:,}: {_first(found.stderr)}"
        totals = [a + int(b) for a, b in zip(totals, found.stdout.split(), strict=True)]
    refused, acted, infinite = totals
    return (
        f"{count:,} broken files, seed {seed}: {refused:,} refused, {acted:,} acted; "
        f"{infinite} numbers of their actions overflowed"
    )


def team(folder: Path) -> str:
    """Run the thread team under TSan."""
    flags = (f"-I{ROOT / 'csrc'}", str(ROOT / "csrc/cpu/team.cpp"), "-pthread")
    program = _compiled(folder, "tests/faults/team_driver.cpp", *flags, "-fsanitize=thread")
    found = subprocess.run([program], text=True, capture_output=True, timeout=600, check=False)
    if found.returncode:
        return f"FAILED: {_first(found.stderr or found.stdout)}"
    return "6,000 loops of nested teams in 3 threads: no race"


def kernels(folder: Path) -> str:
    """Build the native module under ASan and UBSan, and run the tests of its operations on it."""
    tree = folder / "tree"
    left_out = shutil.ignore_patterns(".git", ".venv", "build", "_native*", "__pycache__", "runs")
    shutil.copytree(ROOT, tree, ignore=left_out, symlinks=True)
    flags = {"CXXFLAGS": " ".join(MEMORY) + " -g1", "GTP_FAST_CUDA": "off"}
    build = [sys.executable, "setup.py", "build_ext", "--inplace"]
    made = subprocess.run(
        build, cwd=tree, env=os.environ | flags, text=True, capture_output=True, check=False
    )
    if made.returncode:
        return f"FAILED to build: {_first(made.stderr)}"
    surroundings = os.environ | _STRICT | {
        "LD_PRELOAD": f"{_library('libasan')} {_library('libstdc++')}",
        "PYTHONMALLOC": "malloc", "PYTHONPATH": str(tree),
    }  # fmt: skip
    tests = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *_TESTS]
    found = subprocess.run(
        tests, cwd=tree, env=surroundings, text=True, capture_output=True, check=False
    )
    last = (found.stdout.strip().splitlines() or ["no test ran"])[-1].strip("= ")
    return (
        f"FAILED ({found.returncode}): {last} {_first(found.stderr)}"
        if found.returncode
        else f"{last}"
    )


def _first(said: str) -> str:
    """Return the line of a complaint that names the fault."""
    lines = said.strip().splitlines()
    named = [line for line in lines if "ERROR" in line or "WARNING" in line or "error" in line]
    return (named or lines or [""])[0][:200]


PARTS = {"header": (header, "libasan"), "team": (team, "libtsan"), "kernels": (kernels, "libasan")}


def main(names: list[str]) -> int:
    """Run the parts; return 1 if one failed."""
    failed = False
    for name in names or PARTS:
        part, library = PARTS[name]
        with tempfile.TemporaryDirectory() as folder:
            what = f"skipped: {reason}" if (reason := missing(library)) else part(Path(folder))
        print(f"{name:8}{what}", flush=True)
        failed |= what.startswith("FAILED")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
