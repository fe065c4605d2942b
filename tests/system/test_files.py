"""Files that are replaced in one step, by several writers and after killed ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gtp_fast.system import files


def test_two_writers_of_one_file_both_end_and_leave_the_last_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "a.json", files.write_durably

    def overtaken(temporary: Path, data: bytes) -> None:
        write(temporary, data)
        monkeypatch.setattr(files, "write_durably", write)
        files.write_atomically(path, "second")
        assert path.read_text() == "second"

    monkeypatch.setattr(files, "write_durably", overtaken)
    files.write_atomically(path, "first")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    left, young, other = (
        tmp_path / name for name in (".a[1].json.9.tmp", ".a[1].json.8.tmp", ".b.json.9.tmp")
    )
    for one in (left, young, other):
        one.write_text("half")
    for one in (left, other):
        os.utime(one, (0, 0))
    files.write_atomically(tmp_path / "a[1].json", "whole")
    assert not left.exists() and young.exists() and other.exists()


@pytest.mark.parametrize("length", [240, 255])
def test_a_name_of_any_legal_length_is_written(tmp_path: Path, length: int) -> None:
    path = tmp_path / ("a" * length)
    files.write_atomically(path, "whole")
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_too_long_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(files.UserError, match="could not be written"):
        files.write_atomically(tmp_path / ("a" * 300), "whole")
    assert not list(tmp_path.iterdir())
