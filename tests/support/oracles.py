"""Closed forms that judge the package: those that its own figures are drawn with."""

from __future__ import annotations

from gtp_fast.toy.fixed_points import (
    TableMap,
    gaussian_recursion,
    karras,
)
from gtp_fast.toy.laws import (
    TWO_MODES,
    Array,
    Field,
    Mixture,
    Shape,
    gaussian_denoiser,
    gaussian_flow,
    judge,
    log_ndtr,
    ndtr,
    ndtri,
    normal_scores,
    posterior_expectation,
    quadrature,
)
from gtp_fast.toy.solvers import (
    slope,
    solve,
)

__all__ = [
    "TWO_MODES",
    "Array",
    "Field",
    "Mixture",
    "Shape",
    "TableMap",
    "gaussian_denoiser",
    "gaussian_flow",
    "gaussian_recursion",
    "judge",
    "karras",
    "log_ndtr",
    "ndtr",
    "ndtri",
    "normal_scores",
    "posterior_expectation",
    "quadrature",
    "slope",
    "solve",
]
