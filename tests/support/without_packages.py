"""A plugin of pytest: packages that the machine with the GPU lacks cannot be imported.

GTP_FAST_WITHOUT names them, separated by commas.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from typing import Any


class _Refuses:
    names = tuple(filter(None, os.environ.get("GTP_FAST_WITHOUT", "").split(",")))

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


sys.meta_path.insert(0, _Refuses())
