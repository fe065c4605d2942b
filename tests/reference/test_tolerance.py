"""The comparison rule itself: what it allows, what it refuses, and what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerance import assert_as_accurate

EPS = torch.finfo(torch.float32).eps
EXACT = torch.tensor([1.0, 8.0], dtype=torch.float64)


def off(error: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (EXACT + torch.tensor([error, 0.0])).to(dtype)


def test_allows_twice_the_plain_error() -> None:
    assert_as_accurate("x", off(1.9e-3), off(1e-3), EXACT)
    with pytest.raises(AssertionError):
        assert_as_accurate("x", off(2.1e-3), off(1e-3), EXACT)


def test_allows_a_few_epsilon_of_the_scale_and_of_the_dtype() -> None:
    assert_as_accurate("x", off(31 * EPS), off(0), EXACT)
    with pytest.raises(AssertionError):
        assert_as_accurate("x", off(33 * EPS), off(0), EXACT)
    with pytest.raises(AssertionError):
        assert_as_accurate("x", off(9 * EPS), off(0), EXACT, floor_eps=1)
    bfloat16 = torch.bfloat16
    assert_as_accurate("x", off(2.0**-7, bfloat16), off(0, bfloat16), EXACT)


def test_message_names_the_tensor_and_both_errors() -> None:
    with pytest.raises(
        AssertionError, match=r"gradient: .*fast 1\.0+e\+00, of plain 0\.0+e\+00.*\(0,\)"
    ):
        assert_as_accurate("gradient", off(1.0), off(0), EXACT)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", range(3))
def test_refuses_nan_and_infinity(place: int, value: float) -> None:
    tensors = [off(0), off(0), EXACT.clone()]
    tensors[place][0] = value
    with pytest.raises(AssertionError, match="1 of 2 values that are NaN or infinite"):
        assert_as_accurate("x", *tensors)


def test_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(AssertionError, match="shapes"):
        assert_as_accurate("x", off(0)[:1], off(0), EXACT)
    with pytest.raises(AssertionError, match="fast is float32 but plain is bfloat16"):
        assert_as_accurate("x", off(0), off(0, torch.bfloat16), EXACT)
    with pytest.raises(AssertionError, match="exact must be computed in float64"):
        assert_as_accurate("x", off(0), off(0), EXACT.float())
    with pytest.raises(AssertionError, match="fast is int64, but the rule is for floats"):
        assert_as_accurate("x", torch.tensor([1, 8]), off(0), EXACT)


def test_takes_numpy_and_nothing_at_all() -> None:
    exact = EXACT.numpy()
    assert_as_accurate("x", exact.astype(np.float32), off(0), exact)
    assert_as_accurate("x", np.zeros((0, 3), np.float32), torch.zeros(0, 3), np.zeros((0, 3)))
