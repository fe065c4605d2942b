"""YAML that people write: mappings, lists, numbers and words, each key once, nothing that expands."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from gtp_fast.errors import UserError

_LARGEST = 1_000_000
"""Bytes of a file that is read."""


def read(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises UserError naming file, line and mend for aliases, tags, repeated keys, more than a
    megabyte, and whatever is no mapping.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): name a YAML file.") from error
    if len(text) > _LARGEST:
        raise UserError(f"{path} has more than {_LARGEST:,} bytes: write a shorter file.")
    try:
        content = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UserError(_sentence(path, error)) from error
    except (RecursionError, ValueError, TypeError) as error:
        raise UserError(f"{path} is no YAML that can be read here: simplify it.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no mapping: begin it with `base:`, `grid:` or `jobs:`.")
    return content


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, which let a small file stand for a huge one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(None, None, "aliases (*name) are not read, write it out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(None, None, "a key must be a word", key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    None, None, f"{key.value} stands twice, keep one", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _sentence(path: Path, error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    line = "" if mark is None else f", line {mark.line + 1}"
    return f"{path}{line}: {problem or 'it is no valid YAML, correct it'}."
