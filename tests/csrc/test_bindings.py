"""What native code is told of addresses, before it reads or writes any: misfits are refused.

The operations of Python pass none of these; a new one that did would read beyond an array.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from native_cases import needs_native

from gtp_fast.system import native

pytestmark = needs_native
MEMORY = torch.zeros(4096)
AT = MEMORY.data_ptr()
LAYER, NORM = [(AT, 0)] * 2, [(AT, 0)] * 4
X = [(AT, 3, 2, 4)]


def perceptron(x: list[tuple[int, ...]] = X, layers: Any = (LAYER, LAYER), norm: bool = False):
    """Return the arguments of a pass of two groups and four rows through layers of 3, 8 and 2."""
    module = native.module()
    shape = module.MlpShape(2, 4, [3, 8, 2], 0, False, norm)
    return shape, x, module.MlpLayers(layers), (AT, 2), AT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [(AT, 3, 2, 3)]}, "does not fit its groups or rows"),
        ({"x": [(AT, 3, 3, 4)]}, "does not fit its groups or rows"),
        ({"x": [(AT, 3, 2, 0)]}, "does not fit its groups or rows"),
        ({"x": [(0, 3, 2, 4)]}, "a piece is a null pointer"),
        ({"x": [(AT, 2, 2, 4)]}, "not as wide as the first layer"),
        ({"x": [*X, (AT, 1, 1, 1)]}, "not as wide as the first layer"),
        ({"layers": [LAYER]}, "one entry is needed for each layer"),
        ({"layers": [LAYER] * 3}, "one entry is needed for each layer"),
        ({"layers": [NORM, LAYER]}, "the norms do not fit the shape"),
        ({"norm": True}, "the norms do not fit the shape"),
    ],
)
def test_inputs_and_layers_that_do_not_fit_are_refused(
    change: dict[str, Any], message: str
) -> None:
    shape, x, layers, y, saved = perceptron(**change)
    with pytest.raises(ValueError, match=message):
        native.module().mlp_forward(shape, x, layers, y, saved)
    with pytest.raises(ValueError, match=message):
        native.module().mlp_backward(shape, y, layers, saved, x, [0] * len(x), layers)


def test_every_piece_of_the_input_has_its_gradient_or_none() -> None:
    shape, x, layers, y, saved = perceptron()
    for addresses in ([], [AT, AT]):
        with pytest.raises(ValueError, match="one address of dx is needed"):
            native.module().mlp_backward(shape, y, layers, saved, x, addresses, None)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((1, 1, [3], 0), "sizes must name at least input and output"),
        ((1, 1, [3, 0], 0), "a size is out of range: 0"),
        ((1, 1, [3, 65537], 0), "a size is out of range: 65537"),
        ((-1, 1, [3, 2], 0), "must not be negative"),
        ((1, -1, [3, 2], 0), "must not be negative"),
        ((1, 1, [3, 2], 3), "there is no such activation"),
    ],
)
def test_sizes_that_make_no_perceptron_are_refused(sizes: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        native.module().MlpShape(*sizes)


@pytest.mark.parametrize("count", [1, 3])
def test_a_layer_has_two_parameters_or_four(count: int) -> None:
    with pytest.raises(ValueError, match="two or four parameters"):
        native.module().MlpLayers([[(AT, 0)] * count])


@pytest.mark.parametrize(("count", "widths"), [(0, (3, 2)), (4, (0, 2)), (4, (3, 0))])
def test_a_table_has_rows_and_columns(count: int, widths: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="there is nothing to draw from"):
        native.module().gather(AT, 0, count, widths, AT, 1, 0, 0, 1, [AT] * 5)


def test_losses_are_among_the_metrics() -> None:
    with pytest.raises(ValueError, match="the losses are rows of the metrics"):
        native.module().tally(AT, (1, 2, 1), AT, 0, AT, AT)
