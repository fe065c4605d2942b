"""Commands: one sentence, one exit code, no traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from gtp_fast import cli
from gtp_fast.errors import UserError


@dataclass(frozen=True)
class Options:
    """Options of the test."""

    episodes: int = 3
    """How many."""
    name: str = "x"
    """Which."""
    most: int | None = None
    """At most so many."""
    rates: tuple[float, ...] = ()
    """How fast."""
    goal: tuple[float, float] | None = None
    """Where to."""


def parse(argv: Sequence[str]) -> Options:
    return cli.parse(Options, argv, "python -m command")


def test_a_user_error_is_one_line_and_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: Sequence[str]) -> int:
        raise UserError(f"No {argv[0]} here.")

    assert cli.run(main, ["cat"]) == 2
    assert capsys.readouterr() == ("", "gtp_fast: No cat here.\n")


def test_what_else_went_wrong_is_said_too(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: Sequence[str]) -> int:
        error = UserError("The environment failed.")
        error.add_note("Update 15 could not be saved: the disk is full")
        raise error

    assert cli.run(main, []) == 2
    said = "gtp_fast: The environment failed.\ngtp_fast: Update 15 could not be saved: the disk is"
    assert capsys.readouterr().err.startswith(said)


def test_other_errors_keep_their_traceback() -> None:
    def main(argv: Sequence[str]) -> int:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        cli.run(main, [])


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: Sequence[str]) -> int:
        raise KeyboardInterrupt

    assert cli.run(main, []) == 130
    assert capsys.readouterr().err == "gtp_fast: stopped.\n"


def test_a_commands_own_exit_code_is_kept() -> None:
    assert cli.run(lambda argv: None, []) == 0
    assert cli.run(lambda argv: 7, []) == 7


def test_options_are_parsed() -> None:
    assert parse(["--episodes", "5"]) == Options(episodes=5)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["--episods", "5"],
            r"--episods.*\(did you mean --episodes\?\); see python -m command --help",
        ),
        (["--episodes", "many"], r"^--episodes takes a whole number, not 'many'; see python -m"),
        (["--most", "1e3"], r"^--most takes a whole number or None, not '1e3'; see"),
        (["--most=a,b"], r"^--most takes a whole number or None, not 'a,b'; see"),
        (["--rates", "1", "fast"], r"^--rates takes numbers, not '1' 'fast'; see"),
        (["--goal", "1"], r"^--goal takes two numbers or None, not '1'; see"),
        (["stray"], r"stray.*; see python -m command --help"),
        (["--episodes"], r"^--episodes needs a value; see python -m command --help"),
    ],
)
def test_a_wrong_option_is_one_sentence(argv: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        parse(argv)
    assert "\n" not in str(caught.value)
    assert "─" not in str(caught.value)
    assert "helptext" not in str(caught.value)


def test_help_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(["--help"])
    assert stop.value.code == 0
    assert "How many." in capsys.readouterr().out


def test_a_reader_that_leaves_is_no_error() -> None:
    code = (
        "import sys; from gtp_fast import cli\n"
        "def main(argv):\n"
        "    for _ in range(100000): print('x' * 100)\n"
        "sys.exit(cli.run(main, []))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0
