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
        trees = ast.parse(textwrap.dedent(_source(base))).body
        body = [line for tree in trees if isinstance(tree, ast.ClassDef) for line in tree.body]
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                words = str(ast.literal_eval(text.value)).split()
                found[ast.unparse(field.target)] = " ".join(words)
    return found


def _source(kind: type) -> str:
    """Return the source of a class; empty for one that a program made."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        # From Python 3.12 on a made dataclass names the module that made it, before that `types`.
        return ""


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
