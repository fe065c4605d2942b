"""What any machine can check of the kernels: imports, and parity under the interpreter."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = sorted((ROOT / "kernels").glob("*.py"))
PARITY = sorted((ROOT / "tests" / "ops").glob("test_*_triton.py"))


@pytest.mark.timeout(1200)
def test_parity_suite_passes_under_the_interpreter() -> None:
    pytest.importorskip("triton")
    # A process of its own: Triton reads the switch once, when its functions are first decorated.
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    assert len(PARITY) >= 10
    files = [
        *(str(path.relative_to(ROOT)) for path in PARITY),
        "tests/agents/test_kernels_agent.py",
        "tests/agents/test_kernels_fold.py",
        "tests/agents/test_kernels_rivals.py",
        "tests/agents/test_kernels_whole.py",
        "tests/agents/test_launches.py",
        "tests/agents/test_update_nodes.py",
    ]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    summary = run.stdout.strip().splitlines()[-1]
    assert re.search(r"\d+ passed", summary), summary
    assert "skipped" not in summary, summary


@pytest.mark.parametrize("path", KERNELS, ids=lambda p: p.stem)
def test_kernels_import_nothing_of_the_package(path: Path) -> None:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.append(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, f"{path.name} reaches out of its folder"
    allowed = {"torch", "triton", *sys.stdlib_module_names}
    assert {name.split(".")[0] for name in names} <= allowed


def test_kernels_refuse_another_name() -> None:
    spec = importlib.util.spec_from_file_location("kernels", ROOT / "kernels" / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=r"import gtp_fast\.kernels"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_importing_the_package_loads_no_triton() -> None:
    code = "import sys, gtp_fast; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
