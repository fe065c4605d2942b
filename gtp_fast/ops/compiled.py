"""torch.compile for operations, whose callers differ in shapes and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

GRAPHS = 64
"""Graphs that torch.compile may keep of one function before it runs plain PyTorch instead."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return torch.compile of a function: a graph for every shape that it meets.

    All agents and networks of a process share the graphs of one function. PyTorch's own limit of 8
    is less than one agent with several networks needs, so this raises it for the whole process.
    Beyond `GRAPHS` shapes PyTorch runs them uncompiled, with a warning of its own.
    """
    from torch._dynamo import config

    config.recompile_limit = max(config.recompile_limit, GRAPHS)
    graphs: Callable[..., Any] = torch.compile(function, dynamic=False)
    return graphs
