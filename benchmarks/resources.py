"""What each compiled kernel takes of a GPU: registers, stack, shared and local memory."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_LEFT_OUT = ("CONSTANT", "TEXTURE", "SURFACE", "SAMPLER")


def report(modules: Sequence[Path], triton_cache: Path) -> str:
    """Return one line a kernel: of native modules, each architecture, and of Triton's cache."""
    tool = _cuobjdump()
    if tool is None:
        return "no cuobjdump here, so the kernels' resources are unknown\n"
    lines = []
    for module in modules:
        lines += [module.name, *usage(tool, module)]
    lines.append("Triton kernels, one for each way the tests launch them")
    for cubin in sorted(triton_cache.rglob("*.cubin"), key=lambda path: path.name):
        lines += usage(tool, cubin)
    return "\n".join(lines) + "\n"


def usage(tool: str, path: Path) -> list[str]:
    """Return the usage of every kernel in a cubin or a shared library."""
    command = [tool, "--dump-resource-usage", str(path)]
    dump = subprocess.run(command, capture_output=True, text=True)
    if dump.returncode:
        return [f"  {path.name}: {dump.stderr.strip() or 'cuobjdump failed'}"]
    lines, architecture, kernel = [], "", ""
    for line in map(str.strip, dump.stdout.splitlines()):
        if line.startswith("arch = "):
            architecture = line.removeprefix("arch = ") + " "
        elif line.startswith("Function "):
            kernel = line.removeprefix("Function ").rstrip(":")
        elif line.startswith("REG:"):
            figures = [part for part in line.split() if not part.startswith(_LEFT_OUT)]
            lines.append(f"  {architecture}{kernel}: {' '.join(figures)}")
    return lines


def _cuobjdump() -> str | None:
    found = shutil.which("cuobjdump")
    triton = importlib.util.find_spec("triton")
    if found is None and triton is not None and triton.origin is not None:
        own = Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        found = str(own) if own.exists() else None
    return found
