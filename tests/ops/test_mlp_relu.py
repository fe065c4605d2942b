"""ReLU of the native perceptron where its slope jumps, and at numbers that are not finite."""

from __future__ import annotations

import math

import pytest
import torch
from native_cases import needs_native
from test_mlp import Case
from tolerance import assert_as_accurate

from gtp_fast import reference
from gtp_fast.ops import mlp

pytestmark = needs_native
NAMES = ("y", "dx", "dw", "db", "dw of the last layer", "db of the last layer")


def compare(case: Case, names: tuple[str, ...] = NAMES) -> None:
    """Hold results to the rule, those of the reference being finite."""
    fast, plain = case.results(mlp.native_mlp), case.results(reference.mlp)
    exact = case.results(reference.mlp, torch.float64)
    for name, *values in zip(NAMES, fast, plain, exact, strict=True):
        if name in names:
            assert torch.isfinite(values[2]).all(), name
            assert_as_accurate(name, *values)


def test_the_slope_at_zero_is_that_of_the_reference(isa: str) -> None:
    """A zero observation meets zero biases in a network as it is initialised."""
    case = Case(1, 3, (3, 20, 2), "relu")
    case.x.zero_()
    case.parameters[1].zero_()
    compare(case)


@pytest.mark.parametrize("unit", [0, 17, 19])
def test_minus_infinity_becomes_zero_and_passes_no_finite_error_back(unit: int, isa: str) -> None:
    case = Case(1, 3, (3, 20, 2), "relu")
    case.parameters[1][0, unit] = -math.inf
    compare(case)


def test_a_nan_goes_through_and_lets_the_error_pass(isa: str) -> None:
    case = Case(1, 3, (3, 20, 2), "relu")
    case.parameters[1][0, 4] = math.nan
    assert torch.isnan(case.results(mlp.native_mlp)[0]).all()
    compare(case, ("dx", "dw", "db"))
