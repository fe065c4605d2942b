"""`make gpu` before its first GPU: what it would run collects, fits, and survives a cut."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
pytest.importorskip("pytest_benchmark")

from benchmarks import gpu  # noqa: E402

ABSENT = "gymnasium,gymnasium_robotics,minari,tyro,mujoco"


@pytest.mark.parametrize("absent", [ABSENT, ABSENT.removeprefix("gymnasium,")])
def test_gpu_tests_collect_without_packages_of_other_parts(absent: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "without_packages", "-p", "no:cacheprovider"]
    command += ["-q", "-m", "gpu", "--collect-only", *gpu.gpu_tests()]
    folders = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support")))
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "GTP_FAST_WITHOUT": absent, "PYTHONPATH": folders},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    # Those of kernels need no gymnasium, those of agents do.
    found = {Path(line.split("::")[0]).stem for line in done.stdout.splitlines() if "::" in line}
    assert {"test_native_cuda", "test_mlp_gpu", "test_mlp_triton"} <= found
    assert ("test_kernels_agent" in found) == ("gymnasium," not in absent)
    assert re.search(r"\d+/\d+ tests collected", done.stdout)
