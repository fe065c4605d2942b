"""Sizes that a fused form does not hold: UserError if it was asked for, else PyTorch."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping

from gtp_fast.errors import UserError

NATIVE_LAYER = 65536
"""Inputs or units of a layer that native code holds."""
_TRITON = "at least one hidden layer, of 8 to 512, at most 64 outputs, and no layer norm"


class Beyond(UserError):
    """A size is one that a fused form does not hold."""


@functools.cache
def beyond(what: str, reason: str, strict: bool) -> None:
    """Warn once that `what` runs through PyTorch, with the reason; strict: raise UserError."""
    if strict:
        raise UserError(
            f"--backend fused is not available for {what}: {reason}; use --backend auto."
        )
    warnings.warn(f"{what} runs through PyTorch: {reason}", stacklevel=3)


def triton_holds(width: int, outputs: int) -> bool:
    """Return whether Triton's kernels hold networks of this width with so many outputs."""
    return 8 <= width <= 512 and outputs <= 64


def of_network(form: str, sizes: tuple[int, ...], norm: bool = False) -> str:
    """Return why a form (native, triton) does not hold a perceptron, or an empty string.

    sizes: inputs, units of each hidden layer, outputs; norm: whether it has layer norms.
    """
    if form == "triton" and (norm or len(sizes) < 3 or not triton_holds(sizes[1], sizes[-1])):
        return f"the kernel holds {_TRITON}"
    if form == "native" and max(sizes) > NATIVE_LAYER:
        return f"native code holds layers of at most {NATIVE_LAYER} units"
    return ""


def of_actions(form: str, actions: int) -> str:
    """Return why a form of `perturb` and `loss` does not hold so many actions, or nothing."""
    if form != "triton":
        return ""
    from gtp_fast.kernels.perturb import MAX_ACTIONS

    return f"the kernel holds at most {MAX_ACTIONS}" if actions > MAX_ACTIONS else ""


def of_agent(
    forms: Mapping[str, str], networks: Mapping[str, Mapping[str, tuple[int, ...]]], actions: int
) -> dict[str, str]:
    """Return the operations and networks that sizes leave to PyTorch, each with the reason.

    forms: the form of each operation; networks: parameter shapes of each, by name.
    """
    found = {name: of_actions(forms[name], actions) for name in ("perturb", "loss")}
    for name, shapes in networks.items():
        norm = any(key.startswith("norm") for key in shapes)
        for part, sizes in _perceptrons(shapes).items():
            own = part == "layer"
            reason = of_network(forms["mlp"], sizes, norm and own)
            found[name if own else f"{name} {part}"] = reason
    return {name: reason for name, reason in found.items() if reason}


def _perceptrons(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the sizes of each perceptron among named parameters: layer0.weight, t.0.weight."""
    found = dict[str, tuple[int, ...]]()
    for key, shape in shapes.items():
        layer, _, kind = key.rpartition(".")
        if kind == "weight":
            part = layer.rstrip("0123456789").rstrip(".")
            found[part] = (*found.get(part, shape[:1]), shape[1])
    return found
