"""Facts about this machine that a result depends on besides its configuration."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import gtp_fast
from gtp_fast.system import native

_PACKAGES = ("torch", "triton", "numpy", "gymnasium", "gymnasium-robotics", "mujoco", "minari")


def environment() -> dict[str, Any]:
    """Return versions, processor, GPU and git revision; imports no package that it names."""
    return {
        "gtp_fast": gtp_fast.__version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "system": platform.platform(),
        "processor": _processor(),
        "gpu": _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
        "git": _revision(),
        "native": native.describe(),
    }


def cores() -> list[int]:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} cores)" if names else platform.processor()


def _revision() -> str | None:
    checkout = Path(__file__).parents[2]
    # An installed package may lie inside another project's repository; its revision says nothing.
    if not (checkout / ".git").exists():
        return None
    # `git describe --dirty` would rewrite the user's index, and leave its lock on a full disk.
    git = "git", "--no-optional-locks", "-C", str(checkout)
    said = _output(*git, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    lines = (said or "").splitlines()
    named = [line.split()[-1] for line in lines if line.startswith("# branch.oid ")]
    if named in ([], ["(initial)"]):
        return None
    changed = any(not line.startswith("#") for line in lines)
    return named[0] + "-dirty" * changed


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
