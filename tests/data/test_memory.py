"""Data from memory: what is no array of numbers is a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sets
import torch

from gtp_fast.data import TransitionTable, load_table
from gtp_fast.errors import UserError
from gtp_fast.tasks import of_dataset


def load(data: Any) -> TransitionTable:
    return load_table(of_dataset("", "x"), data, use_cache=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rewards": [np.zeros(5), np.zeros(7)]}, "arrays: rewards is no array of numbers"),
        ({"rewards": torch.zeros(12).requires_grad_()}, "arrays: rewards is no array of numbers"),
        ({"rewards": torch.zeros(12, dtype=torch.bfloat16)}, "arrays: rewards is no array"),
        ({"observations": {"hand": np.zeros(12)}}, "observations holds object, not numbers"),
    ],
)
def test_an_array_that_numpy_cannot_make_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        load(sets.flat() | change)
    assert "\n" not in str(caught.value)


def test_lists_and_tensors_are_arrays() -> None:
    lists = {key: value.tolist() for key, value in sets.flat().items()}
    tensors = {key: torch.from_numpy(value) for key, value in sets.flat().items()}
    assert torch.equal(load(lists).rows, load(tensors).rows)


@pytest.mark.parametrize(
    "data", [[sets.flat(), sets.flat()], np.zeros((1000, 3)), 7, tuple(range(3000))]
)
def test_what_is_no_dataset_is_named_by_its_type(data: Any) -> None:
    with pytest.raises(UserError) as caught:
        load(data)
    assert str(caught.value).startswith(f"an object of type {type(data).__name__} is")
