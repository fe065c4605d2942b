"""The console command looks for modules where `python -m` does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from gtp_fast import __main__ as command

NAME = "only_in_the_working_folder"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a module, and let the command import it."""
    (tmp_path / f"{NAME}.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    monkeypatch.delitem(sys.modules, NAME, raising=False)

    def run(main: Callable[[Sequence[str]], int]) -> int:
        importlib.import_module(NAME)
        return 0

    monkeypatch.setattr(command.cli, "run", run)
    return tmp_path


def test_a_module_in_the_working_folder_is_found(folder: Path) -> None:
    assert command.console() == 0
    assert sys.path.count(str(folder)) == 1
    assert command.console() == 0
    assert sys.path.count(str(folder)) == 1


def test_a_safe_path_stays_safe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safe = SimpleNamespace(path=sys.path, flags=SimpleNamespace(safe_path=True))
    monkeypatch.setattr(command, "sys", safe)
    with pytest.raises(ImportError):
        command.console()


def test_a_folder_that_is_gone_is_left_to_the_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.cli, "run", lambda main: 2)
    (folder / f"{NAME}.py").unlink()
    folder.rmdir()
    assert command.console() == 2
