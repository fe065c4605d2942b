"""The one comparison rule: a fast path errs at most twice as much as plain PyTorch, + a few eps."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch

Array: TypeAlias = torch.Tensor | np.ndarray | float


def assert_as_accurate(
    name: str, fast: Array, plain: Array, exact: Array, *, floor_eps: float = 4
) -> None:
    """Assert error(fast) <= 2 error(plain) + floor_eps * eps(dtype of fast) * max|exact|, max-norm.

    name: what is compared, for the message. fast: the result under test; plain: the definition at
    the same dtype; exact: the definition in float64. All of one shape and finite, else
    AssertionError.
    """
    (fast_dtype, fast_values), (plain_dtype, plain_values), (exact_dtype, exact_values) = (
        _float64(name, role, x) for role, x in (("fast", fast), ("plain", plain), ("exact", exact))
    )
    assert exact_dtype == "float64", f"{name}: exact must be computed in float64, not {exact_dtype}"
    assert fast_dtype == plain_dtype, f"{name}: fast is {fast_dtype} but plain is {plain_dtype}"
    shapes = fast_values.shape, plain_values.shape, exact_values.shape
    assert len(set(shapes)) == 1, f"{name}: shapes of fast, plain, exact differ: {shapes}"
    if exact_values.size == 0:
        return
    error = np.abs(fast_values - exact_values)
    fast_error, plain_error = float(error.max()), float(np.abs(plain_values - exact_values).max())
    epsilon = torch.finfo(getattr(torch, fast_dtype)).eps
    scale = float(np.abs(exact_values).max())
    allowed = 2 * plain_error + floor_eps * epsilon * scale
    if fast_error > allowed:
        worst = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
        raise AssertionError(
            f"{name}: error of fast {fast_error:.3e}, of plain {plain_error:.3e}, "
            f"allowed {allowed:.3e} ({fast_dtype}, scale {scale:.3e}); worst at {worst}: "
            f"{fast_values[worst]:.9g} instead of {exact_values[worst]:.9g}"
        )


def assert_digits_kept(
    name: str, fast: torch.Tensor, plain: torch.Tensor, exact: torch.Tensor
) -> None:
    """Apply the rule to every number as a share of its exact one; zeros must be zeros.

    A difference of two close numbers loses digits that the max-norm of the rule does not see.
    """
    zero = exact == 0
    assert not fast[zero].any(), f"{name}: a number is not 0 where the exact one is"
    shares = ((x.double() / exact)[~zero].to(fast.dtype) for x in (fast, plain))
    assert_as_accurate(f"digits of {name}", *shares, torch.ones_like(exact[~zero]))


def _float64(name: str, role: str, x: Array) -> tuple[str, np.ndarray]:
    """Return the name of x's dtype and its values in float64, refusing what is not finite."""
    if isinstance(x, torch.Tensor):
        dtype, values = str(x.dtype).removeprefix("torch."), x.detach().cpu().double().numpy()
        assert x.dtype.is_floating_point, f"{name}: {role} is {dtype}, but the rule is for floats"
    else:
        array = np.asarray(x)
        dtype, values = str(array.dtype), array.astype(np.float64)
        assert array.dtype.kind == "f", f"{name}: {role} is {dtype}, but the rule is for floats"
    bad = int(values.size - np.isfinite(values).sum())
    assert bad == 0, f"{name}: {role} has {bad} of {values.size} values that are NaN or infinite"
    return dtype, values
