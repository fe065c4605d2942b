"""Texts of options as --help shows them, without the line breaks of the source."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro

Kind = TypeVar("Kind")


def texts(kind: type) -> dict[str, str]:
    """Return the text below each field of a dataclass and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        if base.__module__ == "types":  # Made by a program: it has no source.
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                words = str(ast.literal_eval(text.value)).split()
                found[ast.unparse(field.target)] = " ".join(words)
    return found


def told(kind: type[Kind]) -> type[Kind]:
    """Return a subclass of a dataclass that gives tyro these texts, for --help alone.

    By itself tyro keeps the source's line breaks before indented lines.
    """
    types = get_type_hints(kind, include_extras=True)
    notes: dict[str, Any] = {
        name: Annotated[types[name], tyro.conf.arg(help=text)]
        for name, text in texts(kind).items()
        if name in types
    }
    return type(kind.__name__, (kind,), {"__annotations__": notes, "__doc__": kind.__doc__})
