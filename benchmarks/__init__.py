"""Benchmarks: `pytest benchmarks --benchmark-only`, then `python -m benchmarks.report`."""

from __future__ import annotations

import sys
from pathlib import Path

# Before torch: the package says how its threads are to wait.
import gtp_fast  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"

# The gate judges by the tests' own rule; last in line, so that it shadows nothing.
sys.path.append(str(ROOT / "tests" / "support"))
