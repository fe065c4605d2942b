"""Machines that lack something: a home, a working folder, space, a short path."""

from __future__ import annotations

import errno
import io
import os
import pwd
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import forks
import numpy as np
import pytest
import sets
import torch

from gtp_fast import cli
from gtp_fast.__main__ import main
from gtp_fast.data import load_table, locate, ogbench_files
from gtp_fast.errors import UserError
from gtp_fast.system.files import temporary_folder
from gtp_fast.tasks import of_dataset

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user of a container: no HOME, no entry in the list of users."""

    def unknown(number: int) -> Any:
        raise KeyError(number)

    for name in (
        "HOME",
        "XDG_CACHE_HOME",
        "GTP_FAST_CACHE",
        "MINARI_DATASETS_PATH",
        "OGBENCH_DATA",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_home_data_are_loaded_and_nothing_is_cached(homeless: Path) -> None:
    np.savez("x.npz", **sets.flat())
    assert len(load_table(of_dataset("x", "x"), "x.npz")) > 0
    assert [path.name for path in homeless.iterdir()] == ["x.npz"]


def test_without_a_home_the_default_folders_are_one_sentence(homeless: Path) -> None:
    with pytest.raises(UserError, match="has no home folder: set MINARI_DATASETS_PATH"):
        locate.root()
    with pytest.raises(UserError, match="has no home folder: set OGBENCH_DATA"):
        ogbench_files.folder()
    with pytest.raises(UserError, match="has no home folder: set HOME"):
        load_table(of_dataset("x", "x"), "~/x.npz")


def test_no_temporary_folder_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(UserError, match="set TMPDIR"), temporary_folder():
        pass


@pytest.mark.parametrize("line", [
    ["train", "--dataset", "x" * 400 + ".npz"], ["evaluate", "x" * 400], ["export", "x", "y" * 400],
    ["train", "--dataset", "x.npz", "--env", "none", "--steps", "2", "--output", "y" * 400],
    ["train", "--resume", "x" * 400], ["report", "x" * 400], ["collect", "pointmaze-demo",
     "--transitions", "20", "--output", "y" * 400],
])  # fmt: skip
def test_a_path_too_long_is_one_sentence(
    line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", **sets.flat())
    assert cli.run(main, line) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert said.startswith("gtp_fast: ")


@needs_fork
def test_a_deleted_working_folder_is_one_sentence(tmp_path: Path) -> None:
    said = tmp_path / "said"

    def work(pipe: int) -> int:
        gone = tmp_path / "gone"
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()
        return cli.run(main, ["train", "--dataset", "x.npz"])

    status = forks.ended(*forks.child(work, said))[1]
    assert os.waitstatus_to_exitcode(status) == 2
    assert said.read_text() == (
        "gtp_fast: The working folder was deleted: change into another one.\n"
    )


@needs_fork
@pytest.mark.parametrize("most", [0, 2_000, 30_000])
def test_files_that_may_not_grow_are_one_sentence(tmp_path: Path, most: int) -> None:
    np.savez(tmp_path / "x.npz", **sets.flat())
    line = ["train", "--dataset", str(tmp_path / "x.npz"), "--env", "none", "--steps", "4"]
    line += ["--width", "16", "--device", "cpu", "--output", str(tmp_path / "runs")]

    def work(pipe: int) -> None:
        torch.set_num_threads(1)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        sys.stderr = said = io.StringIO()
        code = cli.run(main, line)
        os.write(pipe, f"{code} {said.getvalue().splitlines()[-1]}".encode())

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    wrote, _ = forks.ended(*forks.child(work))
    torch.set_num_threads(threads)
    assert wrote.startswith(b"2 gtp_fast: "), wrote
    assert b"free some space" in wrote


def test_only_what_a_machine_refuses_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def refuses(number: int) -> Any:
        def work(words: object) -> int:
            raise OSError(number, os.strerror(number), "some/file")

        return work

    assert cli.run(refuses(errno.ENOSPC), []) == 2
    assert capsys.readouterr().err == (
        "gtp_fast: some/file: No space left on device; free some space, or choose another folder.\n"
    )
    assert cli.run(refuses(errno.EACCES), []) == 2
    assert capsys.readouterr().err == (
        "gtp_fast: some/file: Permission denied; ask for the right to use it, or name another "
        "place.\n"
    )
    with pytest.raises(OSError, match="Bad file descriptor"):
        cli.run(refuses(errno.EBADF), [])
