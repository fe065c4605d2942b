"""Fused and plain forms of every operation, and the choice between them."""

from gtp_fast.ops.choose import BACKENDS, make_sampler, missing, resolve
from gtp_fast.ops.operations import Operations

__all__ = ["BACKENDS", "Operations", "make_sampler", "missing", "resolve"]
