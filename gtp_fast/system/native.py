"""Finds the compiled module gtp_fast._native, or says why it is absent."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

from gtp_fast.errors import UserError

_MEND = "build it with: pip install -e . (needs a C++17 compiler; nvcc too for the CUDA part)"


class NativeMissing(RuntimeError):
    """The native module, or a part of it, is absent; the message says why."""


@functools.cache
def _find() -> tuple[ModuleType | None, str]:
    try:
        found = importlib.import_module("gtp_fast._native")
        check_isa(found)
        return found, ""
    except ModuleNotFoundError:
        return None, f"the native module was not built; {_MEND}"
    except ImportError as error:
        return None, f"the native module cannot be loaded ({error}); {_MEND}"


def check_isa(found: ModuleType) -> None:
    """Raise UserError where GTP_FAST_ISA names no instruction set of this machine."""
    try:
        found.isa()
    except ValueError as error:
        raise UserError(
            f"The native module is not available: {error}; give GTP_FAST_ISA one of these, or "
            "leave it unset."
        ) from error


def module() -> ModuleType:
    """Return gtp_fast._native; raises NativeMissing with the reason and the mend.

    UserError for an unknown GTP_FAST_ISA.
    """
    found, reason = _find()
    if found is None:
        raise NativeMissing(reason)
    return found


def missing(device_type: str = "cpu") -> str:
    """Return why the native sampler cannot serve "cpu" or "cuda"; empty if it can."""
    found, reason = _find()
    if found is None:
        return reason
    if device_type == "cuda" and not found.cuda:
        return f"the native module has no CUDA part: {found.cuda_reason}"
    if device_type not in ("cpu", "cuda"):
        return f"the native module has no form for {device_type}"
    return _refusal() if device_type == "cuda" else ""


@functools.cache
def _refusal() -> str:
    """Ask CUDA once why the current device cannot run the native part; empty if it can."""
    native = module()
    reason: str = native.cuda_unavailable()
    built = f"the native module is built for {native.cuda_architectures}"
    return f"{reason} ({built})" if reason else ""


def available(device_type: str = "cpu") -> bool:
    """Say whether the native sampler can serve a device."""
    return not missing(device_type)


def describe() -> str:
    """Return one line: instruction set, unit of bf16 products, CUDA architectures or why none."""
    found, reason = _find()
    if found is None:
        return f"absent: {reason}"
    bf16 = f", bf16 training by {found.bf16()}" if found.bf16() else ""
    cuda = f"CUDA for {found.cuda_architectures}" if found.cuda else f"no CUDA: {found.cuda_reason}"
    return f"{found.isa()}{bf16}, {cuda}"
