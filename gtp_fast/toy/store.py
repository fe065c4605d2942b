"""The results of the toy in one file of plain arrays, to be drawn again."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtp_fast.errors import UserError
from gtp_fast.system.files import write_atomically
from gtp_fast.toy.experiment import Result

_PLAIN = ("target", "method", "seconds_per_update", "diverged")
_BY_K = ("distance", "modes", "outside")


def write(results: Sequence[Result], path: Path) -> None:
    """Write results.npz: the figures as JSON, actions and paths as arrays."""
    facts = [{name: getattr(one, name) for name in (*_PLAIN, *_BY_K)} for one in results]
    arrays: dict[str, Any] = {"facts": np.array(json.dumps(facts))}
    for i, one in enumerate(results):
        arrays |= {f"{i}/actions/{k}": value for k, value in one.actions.items()}
        arrays |= {f"{i}/paths/{name}": value for name, value in one.paths.items()}
    data = io.BytesIO()
    np.savez(data, **arrays)
    write_atomically(path, data.getvalue())


def read(path: Path) -> list[Result]:
    """Return the results of `write`; UserError for another file."""
    if not path.exists():
        raise UserError(f"There is no {path}: leave out --redraw once.")
    try:
        with np.load(path, allow_pickle=False) as file:
            results = [_result(facts) for facts in json.loads(str(file["facts"]))]
            for name in file.files:
                if name != "facts":
                    i, kind, key = name.split("/")
                    one = results[int(i)]
                    if kind == "actions":
                        one.actions[int(key)] = file[name]
                    else:
                        one.paths[key] = file[name]
            return results
    except (
        OSError,
        KeyError,
        ValueError,
        TypeError,
        IndexError,
        EOFError,
        zipfile.BadZipFile,
    ) as e:
        raise UserError(f"{path} is damaged ({e}): leave out --redraw once.") from e


def _result(facts: dict[str, Any]) -> Result:
    by_k: dict[str, Any] = {
        name: {int(k): value for k, value in facts[name].items()} for name in _BY_K
    }
    return Result(**{name: facts[name] for name in _PLAIN}, **by_k)
