"""Fused and plain forms of every operation, and the choice between them."""

from gtp_fast.ops.choose import BACKENDS, Operations, make_sampler, missing, resolve

__all__ = ["BACKENDS", "Operations", "make_sampler", "missing", "resolve"]
