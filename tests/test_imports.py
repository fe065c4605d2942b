"""Imports point one way, and importing the package is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, KERNELS = ROOT / "gtp_fast", ROOT / "kernels"

# From the ground up: a room may import what stands before it, never what stands behind it.
ORDER = (
    "errors", "reference", "system", "cli", "networks", "ops", "environments", "tasks", "data",
    "agents", "evaluation", "engine", "runs", "policy", "collect", "training", "studies",
    "commands",
)  # fmt: skip
# Files at the top of the package that are no command.
SHARED = ("__init__", "errors", "cli")
HEAVY = (
    "gymnasium", "minari", "gymnasium_robotics", "mujoco", "h5py", "triton", "matplotlib", "pandas",
    "scipy", "sympy", "onnx", "jax", "tensorboard", "torch._dynamo", "torch._inductor",
)  # fmt: skip


def module_name(path: Path) -> str:
    base, prefix = (
        (KERNELS, "gtp_fast.kernels") if path.is_relative_to(KERNELS) else (PACKAGE, "gtp_fast")
    )
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join((prefix, *parts)).removesuffix(".__init__")


FILES = {module_name(p): p for base in (PACKAGE, KERNELS) for p in sorted(base.rglob("*.py"))}


def statements(node: ast.AST, deep: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports under a node, typing ones too, those inside functions only if `deep`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif deep or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(child, deep)


def imports(name: str, deep: bool = True) -> set[str]:
    """Return the full names of the modules that a module imports."""
    found = set()
    for statement in statements(ast.parse(FILES[name].read_text()), deep):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
            continue
        base = statement.module or ""
        if statement.level:
            package = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
            outer = package.split(".")[: len(package.split(".")) + 1 - statement.level]
            base = ".".join(filter(None, (*outer, base)))
        inner = {f"{base}.{alias.name}" for alias in statement.names}
        found |= {full if full in FILES else base for full in inner}
    return found


def room(name: str) -> str:
    """Return the room of a module: its folder, or `commands` for one that a user runs."""
    first = name.removeprefix("gtp_fast").lstrip(".").split(".")[0]
    return first if first in ORDER or first in ("", "kernels") else "commands"


def inside(name: str) -> set[str]:
    return {m for m in imports(name) if m.split(".")[0] == "gtp_fast"}


def test_every_file_is_seen() -> None:
    assert {"gtp_fast", "gtp_fast.ops", "gtp_fast.agents.gtp", "gtp_fast.kernels.loss"} <= set(
        FILES
    )
    assert "gtp_fast.reference" in imports("gtp_fast.agents.gtp.state")
    assert "gtp_fast.kernels.loss" in imports("gtp_fast.ops.loss")


def test_a_folder_is_a_room_and_a_file_is_a_command() -> None:
    for path in PACKAGE.glob("*.py"):
        if path.stem not in SHARED:
            tree = ast.parse(path.read_text())
            functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert "main" in functions, f"{path.name} is no command: give it a room"
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms - set(ORDER) <= {"export", "toy", "kernels"}


def test_every_import_points_down() -> None:
    """Lazy imports and those for typing alone count like all others."""
    for name in FILES:
        if room(name) in ("", "kernels"):
            continue
        floor = ORDER.index(room(name))
        above = {
            other
            for other in inside(name)
            if room(other) not in ("", "kernels") and ORDER.index(room(other)) > floor
        }
        assert not above, f"{name} imports {sorted(above)} from above"


def test_no_import_goes_round_in_a_circle() -> None:
    graph = {name: imports(name) & set(FILES) for name in FILES if name != "gtp_fast"}
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done or name not in graph:
            return
        path.append(name)
        for other in sorted(graph[name]):
            visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_kernels_know_torch_and_triton_and_nothing_of_the_package() -> None:
    for name in FILES:
        if room(name) == "kernels":
            for other in imports(name):
                assert other.split(".")[0] in {
                    "gtp_fast",
                    "torch",
                    "triton",
                    *sys.stdlib_module_names,
                }
                assert not other.startswith("gtp_fast") or room(other) == "kernels", (name, other)


def test_only_ops_and_the_fused_updates_know_kernels_and_native_code() -> None:
    # The Triton update stands in four files.
    names = ("native", "triton", "begin", "copies", "critics")
    fused = {f"gtp_fast.agents.gtp.update_{x}" for x in names}
    users = {name for name in FILES if any(room(m) == "kernels" for m in imports(name))}
    assert {room(name) for name in users - fused} == {"kernels", "ops"}
    # Reports of what is installed may ask the native module for its description.
    asking = {name for name in FILES if "gtp_fast.system.native" in imports(name)}
    asking = {name for name in asking - fused if room(name) != "ops"}
    assert asking <= {"gtp_fast.system.machine", "gtp_fast.__main__"}
    calls = {
        name
        for name in asking
        for node in ast.walk(ast.parse(FILES[name].read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "module"
    }
    assert not calls


def loaded_after(statement: str) -> set[str]:
    """Return the modules loaded in a fresh interpreter, and `cuda` if CUDA was touched."""
    code = (
        f"import sys; {statement}; names = set(sys.modules); torch = sys.modules.get('torch'); "
        "names |= {'cuda'} if torch and torch.cuda.is_initialized() else set(); print(*names)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import gtp_fast", ()),
        ("from gtp_fast import reference, networks, ops", ("torch", "numpy")),
        ("import gtp_fast.agents.gtp", ("torch", "numpy", "gymnasium", "h5py")),
        ("import gtp_fast.train", ("torch", "numpy", "gymnasium", "h5py")),
    ],
)
def test_imports_are_lean(statement: str, allowed: tuple[str, ...]) -> None:
    loaded = loaded_after(statement)
    assert "gtp_fast" in loaded
    forbidden = {"cuda", "torch", "numpy", "gtp_fast._native", "gtp_fast.kernels", *HEAVY}
    assert not loaded & (forbidden - set(allowed))


@pytest.mark.parametrize(
    ("given", "kept"),
    [({}, "10000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"), ({"GOMP_SPINCOUNT": "7"}, "7")],
)
def test_threads_spin_briefly_unless_the_user_says_otherwise(
    given: dict[str, str], kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    code = "import os, gtp_fast; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == kept
