"""The one exception that reaches a user as a sentence instead of a traceback."""

from __future__ import annotations

import difflib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Something the user gave cannot be used; the message says which thing and the mend."""


def at_least(least: int, **options: int | None) -> None:
    """Raise UserError for an option below `least`; None leaves it to its default."""
    for name, value in options.items():
        if value is not None and value < least:
            raise UserError(f"--{name.replace('_', '-')} must be at least {least}, not {value}.")


def unknown(option: str, names: Iterable[str]) -> str:
    """Return the sentence for an option that is not among the names."""
    near = difflib.get_close_matches(option, list(names), n=3)
    return f"Unknown option {option!r}" + (f": did you mean {', '.join(near)}?" if near else ".")


UNREADABLE = (
    OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, RuntimeError,
    ArithmeticError, AssertionError, MemoryError, SyntaxError, struct.error, tokenize.TokenError,
    zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""What libraries raise on content that they do not understand."""


def first_line(error: BaseException) -> str:
    """Return the first line of a message; without one, the error's kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def untrusted(what: str, mend: str) -> Iterator[None]:
    """Turn what a library raises while it reads a file into `what (reason); mend`.

    It belongs around the calls that read, not around code of ours, whose faults keep a traceback.
    """
    try:
        yield
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"{what} ({first_line(error)}); {mend}") from error
