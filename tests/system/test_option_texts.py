"""What --help says of an option is one paragraph, whatever the lines of the source."""

from __future__ import annotations

import dataclasses
import io
import re
from dataclasses import dataclass
from typing import Annotated

import pytest
import tyro

from gtp_fast import cli, train
from gtp_fast.errors import UserError
from gtp_fast.system.option_texts import texts, told


@dataclass(frozen=True)
class Base:
    """What is shared."""

    first: int = 1
    """One
    two.
    """


@dataclass(frozen=True)
class Options(Base):
    """Options of a test."""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PLACE")] = ""
    """Where it
    lies.
    """
    plain: float = 0.5


def test_texts_are_those_of_the_bases_too() -> None:
    assert texts(Options) == {"first": "One two.", "path": "Where it lies."}


@pytest.mark.parametrize("module", ["types", __name__])
def test_a_dataclass_that_a_program_made_has_the_texts_of_its_bases(module: str) -> None:
    made = dataclasses.make_dataclass("Made", [("third", int, 3)], bases=(Base,), frozen=True)
    # Python 3.11 names `types`, younger ones the module that made it.
    made.__module__ = module
    assert texts(made) == texts(Base) and texts(told(told(Options))) == texts(Options)


def test_a_told_dataclass_is_the_same_but_for_its_texts() -> None:
    kind = told(Options)
    assert issubclass(kind, Options) and vars(kind(first=3)) == vars(Options(first=3))


def test_help_has_no_line_breaks_of_the_source(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parse(Options, ["--help"], "test")
    said = capsys.readouterr().out
    assert "One two. (default: 1)" in said and "Where it lies." in said and "PLACE" in said
    assert cli.parse(Options, ["here", "--first", "2"], "test") == Options(2, "here")


@pytest.mark.parametrize("columns", ["44", "80"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_complaint_is_a_sentence_whatever_draws_its_frame(
    encoding: str, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    for words, said in (
        (["--first", "x"], "--first takes a whole number, not 'x'; see python -m test --help."),
        (["--firts", "2"], "Unrecognized options: --firts, 2 (did you mean --first?); see python"),
    ):
        with pytest.raises(UserError, match="^" + re.escape(said)):
            cli.parse(Options, words, "python -m test")


def test_all_options_of_training_are_told_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        train.main(["--task", "hopper-medium", "--help-all"])
    said = capsys.readouterr().out
    assert "a preset of dataset" in said and "Units of each hidden layer" in said
