"""What every test file shares: its folder on the path, real data, a count of missing GPUs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    # Workers share the cores; read before torch starts its threads, here and in children.
    # macOS and Windows do not say which cores a process may use.
    _all = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    _share = len(_all(0)) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _share)))

for _room in ("support", "ops", "reference", "csrc", "faults"):
    sys.path.insert(0, str(Path(__file__).parent / _room))


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the user's own cache of tables."""
    os.environ["GTP_FAST_CACHE"] = str(tmp_path_factory.getbasetemp() / "tables")


@pytest.fixture(scope="session")
def minari_data() -> Path:
    """Folder of real Minari datasets; the test is skipped where there is none."""
    given = os.environ.get("MINARI_DATASETS_PATH")
    if not given or not (Path(given) / "D4RL").is_dir():
        pytest.skip("needs real data: set MINARI_DATASETS_PATH to a folder that holds D4RL/...")
    return Path(given)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests did not run for want of a GPU: silence is no success."""
    skipped = terminalreporter.stats.get("skipped", [])
    # A module skipped while it was collected has a report without keywords.
    count = sum("gpu" in getattr(report, "keywords", ()) for report in skipped)
    if count:
        terminalreporter.write_line(f"{count} tests skipped for want of a GPU")
