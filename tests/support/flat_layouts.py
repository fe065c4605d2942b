"""Flat data, renamed and cast into other layouts, and loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gtp_fast.data import TransitionTable, load_table
from gtp_fast.tasks import Rules, of_dataset

Arrays = dict[str, np.ndarray]


def load(data: Any, rules: Rules | None = None, **more: Any) -> TransitionTable:
    name = "x" if isinstance(data, dict) else Path(data).name
    return load_table(of_dataset("", name), data, rules, use_cache=False, **more)


def renamed(**names: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {names.get(key, key): value for key, value in arrays.items()}


def cast(key: str, change: Callable[[np.ndarray], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {key: change(arrays[key])}
