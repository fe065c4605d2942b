"""C++ under the compiler's sanitizers: the policy header, what threads share, the CPU's kernels.

`python tests/faults/sanitize.py [header] [team] [versions] [kernels]` runs those parts, by default
all, and prints a table. A part is left out, with its reason, where g++ has no such sanitizer.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1] / room) for room in ("support", "faults")]

import packed_policies
from folded import Sizes
from mutate import signed
from totals import Total, show

from gtp_fast.policy import file

ROOT = Path(__file__).parents[2]
MEMORY = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FILES, SEED = 5000, 1
_STRICT = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
# The tests of what runs in csrc/cpu; those for other machines and in emulations take hours here.
_TESTS = ("tests/ops", "tests/agents/test_update_cpu.py", "-k", "not triton and not gpu")
# It starts Python without the libraries that must be loaded first.
_UNSET = "tests/ops/test_sampler_fit.py::test_an_instruction_set_can_be_forced"


class Found(NamedTuple):
    """What a part tried and how often, and the fault that it found, if any."""

    tried: str
    count: int
    fault: str = ""


def missing(library: str) -> str:
    """Return why a sanitizer is not available here, or an empty string."""
    compiler = shutil.which("g++")
    if compiler is None:
        return "no g++"
    return "" if Path(_library(library)).is_absolute() else f"g++ has no {library}"


def _library(name: str) -> str:
    command = ["g++", f"-print-file-name={name}.so"]
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout.strip()


def _compiled(folder: Path, source: str, *flags: str) -> Path:
    program = folder / Path(source).stem
    command = ["g++", "-std=c++17", "-g", "-O1", *flags, str(ROOT / source), "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def header(folder: Path, count: int = FILES, seed: int = SEED) -> Found:
    """Feed broken policies to the header under ASan and UBSan."""
    include = f"-I{ROOT / 'gtp_fast' / 'export' / 'files'}"
    program = _compiled(folder, "tests/faults/policy_driver.cpp", include, *MEMORY)
    sound = file.pack(packed_policies.make(Sizes(O=4, A=2, H=8, L=2, K=2)))
    draw, totals = random.Random(seed), [0, 0, 0, 0]
    for begin in range(0, count, 250):
        paths = [folder / f"{i}.gtp" for i in range(min(250, count - begin))]
        for path in paths:
            path.write_bytes(signed(sound, draw))
        found = subprocess.run(
            [program], input="\n".join(map(str, paths)), text=True, capture_output=True,
            timeout=300, check=False, env=os.environ | _STRICT,
        )  # fmt: skip
        if found.returncode:
            return Found("broken policies", begin, f"after file {begin:,}: {_first(found.stderr)}")
        totals = [a + int(b) for a, b in zip(totals, found.stdout.split(), strict=True)]
    refused, acted, stopped, infinite = totals
    assert refused and acted, "the files are all alike"
    what = f"broken policies in gtp_policy.hpp ({refused:,} refused, {acted:,} acted"
    what += f", {stopped:,} gave no action)" if stopped else ")"
    return Found(what, count, f"{infinite} numbers are not finite" if infinite else "")


def team(folder: Path) -> Found:
    """Run the thread team under TSan."""
    fault = _raced(folder, "team", str(ROOT / "csrc/cpu/team.cpp"))
    return Found("loops of nested teams in 3 threads", 6000, fault)


def versions(folder: Path) -> Found:
    """Replace a value under TSan while threads read it."""
    return Found("writes of a value that 3 threads read", 60_000, _raced(folder, "versions"))


def _raced(folder: Path, name: str, *sources: str) -> str:
    """Run a driver under TSan; return its fault."""
    flags = (f"-I{ROOT / 'csrc'}", *sources, "-pthread")
    program = _compiled(folder, f"tests/faults/{name}_driver.cpp", *flags, "-fsanitize=thread")
    # Its shadow memory does not fit a layout with much randomness.
    still = ["setarch", "-R"] if shutil.which("setarch") else []
    found = subprocess.run(
        [*still, program], text=True, capture_output=True, timeout=600, check=False
    )
    return _first(found.stderr or found.stdout) if found.returncode else ""


def kernels(folder: Path) -> Found:
    """Build csrc/cpu under ASan and UBSan, and run the tests of its operations on it."""
    tree = folder / "tree"
    left_out = shutil.ignore_patterns(".*", "build", "_native*", "__pycache__", "runs", "shared")
    shutil.copytree(ROOT, tree, ignore=left_out, symlinks=True)
    flags = {"GTP_FAST_SANITIZE": ";".join((*MEMORY, "-O1", "-g1")), "GTP_FAST_CUDA": "off"}
    build = [sys.executable, "setup.py", "build_ext", "--inplace", "--debug"]
    made = subprocess.run(
        build, cwd=tree, env=os.environ | flags, text=True, capture_output=True, check=False
    )
    if made.returncode:
        return Found("the build of csrc", 1, _first(made.stderr))
    surroundings = os.environ | _STRICT | {
        "LD_PRELOAD": f"{_library('libasan')} {_library('libstdc++')}",
        "PYTHONMALLOC": "malloc", "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    tests = [sys.executable, "-m", "pytest", "-q", "-x", "--capture=sys", *_TESTS]
    found = subprocess.run(
        [*tests, "--deselect", _UNSET], cwd=tree, env=surroundings, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    last = (found.stdout.strip().splitlines() or ["no test ran"])[-1].strip("= ")
    passed = re.search(r"(\d+) passed", last)
    fault = f"{last}; {_first(found.stderr)}" if found.returncode or not passed else ""
    return Found("tests of the kernels in csrc/cpu", int(passed[1]) if passed else 1, fault)


def _first(said: str) -> str:
    """Return the line of a complaint that names the fault."""
    lines = said.strip().splitlines()
    named = [line for line in lines if "ERROR" in line or "WARNING" in line or "error" in line]
    return (named or lines or [""])[0][:200]


PARTS: dict[str, tuple[Callable[[Path], Found], str, str]] = {
    "header": (header, "libasan", "ASan, UBSan"),
    "team": (team, "libtsan", "TSan"),
    "versions": (versions, "libtsan", "TSan"),
    "kernels": (kernels, "libasan", "ASan, UBSan"),
}


def main(names: list[str]) -> list[Total]:
    """Run the parts; return a row for each."""
    totals = []
    for name in names or PARTS:
        part, library, sanitizer = PARTS[name]
        if reason := missing(library):
            totals.append(Total(f"{sanitizer}: {name}", 0, 0, note=reason))
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = part(Path(folder))
        print(f"{name}: {found.fault or 'no fault'}", flush=True)
        seed = SEED if name == "header" else None
        what = f"{sanitizer}: {found.tried}"
        totals.append(Total(what, found.count, int(bool(found.fault)), seed))
    return totals


if __name__ == "__main__":
    sys.exit(show(main(sys.argv[1:])))
