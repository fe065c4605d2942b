"""An update as the nodes of a CUDA graph: launches of kernels and operators of PyTorch."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from gtp_fast.ops import critics
from gtp_fast.ops.sampler import NativeSampler

# Operators that make or name memory and launch nothing, beside views.
_FREE = {"empty", "empty_like", "empty_strided", "new_empty", "detach", "alias", "lift_fresh"}


class Node(str):
    """A node's name, with the grid of its launch and its arguments and options by name."""

    grid: tuple[int, ...] = ()
    given: Mapping[str, Any] = {}


class Operators(TorchDispatchMode):
    """Notes every operator that launches something, as `torch name`."""

    def __init__(self, nodes: list[Node]) -> None:
        super().__init__()
        self.nodes = nodes

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if not func.is_view and name not in _FREE and name != "_unsafe_view":
            self.nodes.append(Node(f"torch {name}"))
        return func(*args, **(kwargs or {}))


class _Launch:
    """Stands before a kernel and notes its launches without making them."""

    def __init__(self, name: str, kernel: Any, nodes: list[Node]) -> None:
        self.name, self.nodes = name, nodes
        self.parameters = list(inspect.signature(kernel.fn).parameters)

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*args: Any, **options: Any) -> None:
            node = Node(f"triton {self.name}")
            node.grid, node.given = grid, dict(zip(self.parameters, args)) | options  # noqa: B905
            self.nodes.append(node)

        return launch


class _Critics:
    """Stands for the critics' cluster kernel and notes its launches without making them."""

    def __init__(self, nodes: list[Node], sizes: tuple[int, ...]) -> None:
        self.nodes, self.sizes = nodes, sizes

    def run(self, seeds: int, rows: int, *_: Any) -> None:
        node = Node("cuda critics run")
        node.given = {"sizes": self.sizes, "seeds": seeds, "rows": rows}
        self.nodes.append(node)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, precision: str = "fp32") -> Iterator[list[Node]]:
    """Yield the list that the nodes of what runs inside are added to, in their order.

    No kernel of Triton is run, so what is computed means nothing. The sampler counts as the node it
    is on a GPU; its `load` counts as one more, and so does `take` where it packs weights for
    tensor cores.
    """
    nodes: list[Node] = []
    for file in (Path(__file__).parents[2] / "kernels").glob("[a-z]*.py"):
        module = importlib.import_module(f"gtp_fast.kernels.{file.stem}")
        for name in [x for x in vars(module) if x.endswith("_kernel")]:
            kernel = getattr(module, name)
            monkeypatch.setattr(module, name, _Launch(f"{file.stem}.{name}", kernel, nodes))
    for name in ("load", "sample", *(("take",) if precision != "fp32" else ())):
        whole = getattr(NativeSampler, name)

        def noted(
            self: Any, *args: Any, whole: Any = whole, name: str = name, **options: Any
        ) -> Any:
            result = whole(self, *args, **options)
            given = inspect.signature(whole).bind(self, *args, **options).arguments
            if given.get("units") is not None:  # packed before
                return result
            node = Node(f"cuda sampler {name}")
            node.given = {"sampler": self, "arguments": args}
            nodes.append(node)
            return result

        monkeypatch.setattr(NativeSampler, name, noted)
    monkeypatch.setattr(critics, "prepared", lambda _, sizes: _Critics(nodes, sizes))
    with Operators(nodes):
        yield nodes
    monkeypatch.undo()
