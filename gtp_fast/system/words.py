"""YAML that people write: mappings and lists of numbers and words, nothing that expands."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from gtp_fast.errors import UserError

_LARGEST, _DEEPEST = 1_000_000, 20
"""Bytes of a file that is read, and levels of its lists and mappings."""


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
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} holds a value that cannot be read ({error}): quote it.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no mapping: begin it with `base:`, `grid:` or `jobs:`.")
    return content


class Plain(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, which let a small file stand for a huge one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Read the next node; YAMLError for an alias."""
        parser: Any = self
        if self.check_event(yaml.AliasEvent):
            raise _wrong("aliases (*name) are not read, write it out", parser.get_event())
        return super().compose_node(parent, index)


class _Loader(Plain):
    """The same, for what people write: no deep nesting, and each key once."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        parser: Any = self
        if self.depth > _DEEPEST:
            raise _wrong(f"more than {_DEEPEST} levels are not read", parser.get_event())
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong("a key must be a word", key)
            if key.value in seen:
                raise _wrong(f"{key.value} stands twice, keep one", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _wrong(problem: str, where: Any) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


def _sentence(path: Path, error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    line = "" if mark is None else f", line {mark.line + 1}"
    return f"{path}{line}: {problem or 'it is no valid YAML, correct it'}."
