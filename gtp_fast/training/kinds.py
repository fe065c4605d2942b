"""Values of options from Python, held to the kinds that the command line would read."""

from __future__ import annotations

import os
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch

from gtp_fast.errors import UserError

_SAID = {
    int: "an integer", float: "a number", bool: "True or False", str: "text", type(None): "None",
}  # fmt: skip


def checked(options: Mapping[str, Any], homes: Iterable[type]) -> dict[str, Any]:
    """Return options with values of their kinds; UserError naming one that has another.

    homes: dataclasses of the options; an option of none of them stays as it is. A number stands for
    one value of several, an integral float for an integer.
    """
    kinds: dict[str, Any] = {}
    for home in homes:
        hints = get_type_hints(home)
        kinds |= {field.name: hints[field.name] for field in fields(home)}
    return {
        name: _fitted(name, kinds[name], value) if name in kinds else value
        for name, value in options.items()
    }


def _fitted(name: str, kind: Any, value: Any) -> Any:
    if isinstance(value, np.ndarray | torch.Tensor) and value.ndim == 0:
        value = value.item()
    if get_origin(kind) is Literal:
        if value in (words := get_args(kind)):
            return value
        raise UserError(
            f"--{name.replace('_', '-')} must be one of {', '.join(words)}, not {value!r:.40}."
        )
    if get_origin(kind) is tuple:
        several = isinstance(value, Iterable) and not isinstance(value, str)
        each, *rest = get_args(kind)
        found = tuple(_fitted(name, each, one) for one in (value if several else (value,)))
        if rest[0] is not Ellipsis and len(found) != len(rest) + 1:
            raise UserError(
                f"--{name.replace('_', '-')} must be {len(rest) + 1} values, not {value!r:.40}."
            )
        return found
    either = get_origin(kind) in (Union, types.UnionType)
    known = get_args(kind) if either else (kind,)
    rows = [one for one in known if get_origin(one) is tuple]
    if rows and value is not None:
        return _fitted(name, rows[0], value)
    for one in known:
        fits, found = _as(one, value)
        if fits:
            return found
    said = " or ".join(_SAID[one] for one in known)
    raise UserError(f"--{name.replace('_', '-')} must be {said}, not {value!r:.40}.")


def _as(kind: Any, value: Any) -> tuple[bool, Any]:
    """Return whether a value is of a kind, and the value as that kind."""
    # Unions of words are checked where the words are known.
    if kind not in _SAID:
        return True, value
    number = isinstance(value, Real) and not isinstance(value, bool)
    if kind is int:
        whole = number and (isinstance(value, Integral) or float(value).is_integer())
        return whole, int(value) if whole else value
    if kind is float:
        return number, value
    if kind is bool:
        return isinstance(value, bool | np.bool_), value
    if kind is str:
        return isinstance(value, str | os.PathLike | torch.device), value
    return isinstance(value, kind), value
