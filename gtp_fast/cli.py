"""Options through tyro, and one sentence instead of a traceback, for every command."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from gtp_fast.errors import UserError
from gtp_fast.system.option_texts import told
from gtp_fast.system.signals import Terminated, terminable

Options = TypeVar("Options")
_SPACE = "free some space, or choose another folder"
_RIGHT = "ask for the right to use it, or name another place"
_OF_MACHINE = {
    errno.ENOSPC: _SPACE, errno.EDQUOT: _SPACE, errno.EFBIG: _SPACE,
    errno.ENAMETOOLONG: "choose a shorter path", errno.EROFS: "choose another folder",
    errno.EACCES: _RIGHT, errno.EPERM: _RIGHT,
    errno.EMFILE: "raise the limit by ulimit -n", errno.ENFILE: "close other programs",
}  # fmt: skip
"""What a machine may refuse at any place, and the mend; any other error of a file is ours."""

_KINDS = {
    "INT": "a whole number", "FLOAT": "a number", "[INT [INT ...]]": "whole numbers",
    "[FLOAT [FLOAT ...]]": "numbers", "{FLOAT FLOAT}": "two numbers",
}  # fmt: skip
_KINDS |= {f"{{None}}|{kind}": f"{one} or None" for kind, one in _KINDS.items()}
_KINDS["{None}|{[FLOAT [FLOAT ...]]}"] = "numbers or None"
"""What tyro calls a kind of value, and a reader."""


def parse(
    options: type[Options],
    argv: Sequence[str] | None,
    prog: str,
    description: str | None = None,
) -> Options:
    """Read command-line options into a dataclass; UserError when they do not fit.

    prog: the name under which `--help` shows the command.
    """
    complaint = io.StringIO()
    argv = sys.argv[1:] if argv is None else argv
    words = [word for given in argv for word in _separate(given)]
    if {"-h", "--help"} & set(words):
        options = told(options)
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(options, args=words, prog=prog, description=description)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(_sentence(complaint.getvalue(), prog)) from None


def run(main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Return the exit code of a command: 2 after a UserError, 128 plus its number after a signal.

    main: takes the arguments without the program's name. A UserError becomes `gtp_fast: <message>`
    on stderr.
    """
    try:
        with terminable():
            _check_folder()
            return main(sys.argv[1:] if argv is None else argv) or 0
    except UserError as error:
        for line in (error, *getattr(error, "__notes__", ())):
            print(f"gtp_fast: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gtp_fast: stopped.", file=sys.stderr)
        return 128 + signal.SIGINT
    except Terminated as error:
        print(f"gtp_fast: stopped by {signal.Signals(error.number).name}.", file=sys.stderr)
        return 128 + error.number
    except BrokenPipeError:
        # The reader (`| head`) has gone; else the interpreter would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        mend = _OF_MACHINE.get(error.errno or 0)
        if mend is None:
            raise
        where = f"{str(error.filename)[:80]}: " if error.filename else ""
        print(f"gtp_fast: {where}{error.strerror}; {mend}.", file=sys.stderr)
        return 2


def _check_folder() -> None:
    """Raise UserError where the working folder is gone: relative paths mean nothing in it."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise UserError("The working folder was deleted: change into another one.") from error


def _separate(word: str) -> list[str]:
    """Return the numbers of a list with commas (`0,1,2`, `--seeds=0,1`) as words of their own."""
    name, equals, value = word.rpartition("=") if word.startswith("--") else ("", "", word)
    if not re.fullmatch(r"-?[\d.]+(e-?\d+)?(,-?[\d.]+(e-?\d+)?)+,?", value):
        return [word]
    return [name] * bool(equals) + value.strip(",").split(",")


def _sentence(box: str, prog: str) -> str:
    """Turn tyro's framed complaint into one sentence."""
    plain = re.sub(r"\x1b\[[0-9;]*m|[╭╮╰╯─│]", "", box)
    # Where stdout is no UTF-8 the rules of the frame are dashes.
    lines = [line.strip() for line in plain.splitlines() if line.strip(" -")]
    # The first line is the title of the frame; what follows its rule is advice at length.
    said: list[str] = []
    advice: list[str] = []
    for line in lines[1:]:
        if line.startswith("For full"):
            # Its own --help may begin a line of a narrow terminal.
            break
        if advice or line.startswith(("Perhaps", "Argument helptext", prog)):
            advice.append(line)
        else:
            said.append(line)
    nearest = [word for line in advice for word in line.split()[:1] if word.startswith("--")]
    hint = f" (did you mean {', '.join(nearest)}?)" if nearest and "Perhaps" in advice[0] else ""
    plainly = _plainly(" ".join(said), advice).rstrip(".")
    return f"{plainly or 'The options cannot be read'}{hint}; see {prog} --help."


def _plainly(said: str, advice: Sequence[str]) -> str:
    """Return tyro's complaint about a value in plain words; others as they are.

    advice: has the option's kind, after its name.
    """
    if missing := re.match(r"Missing value for argument '(--\S+)'", said):
        return f"{missing[1]} needs a value"
    wrong = re.match(r"Error parsing (--\S+): (.*)", said)
    if wrong is None:
        return said
    option, reason = wrong.groups()
    kind = next((line.split(maxsplit=1)[1] for line in advice if line.startswith(f"{option} ")), "")
    given = re.search(r"\[('.*?')\](?: |\.|$)|('[^']*')$", reason)
    if kind not in _KINDS or given is None:
        return said.split(" Got errors")[0]
    words = (given[1] or given[2]).replace("', '", "' '")
    return f"{option} takes {_KINDS[kind]}, not {words}"
