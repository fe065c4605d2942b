"""The short form of the campaign against the readers."""

from __future__ import annotations

from pathlib import Path

import fuzz
import pytest
from readers import all_readers

from gtp_fast.errors import UserError


def test_broken_files_are_read_or_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for reader in all_readers(tmp_path, monkeypatch):
        found = fuzz.campaign(reader, 25, seed=0)
        assert set(found) <= {"read", "refused"}, (reader.name, found)
        assert found["refused"] > 0
    assert not list(tmp_path.rglob("was-here"))


def test_the_campaign_sees_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"sound")

    def read() -> None:
        content = (tmp_path / "x").read_bytes()
        if b"u" not in content:
            raise UserError("one\nand another")
        if content != b"sound":
            raise KeyError("x")

    found = fuzz.campaign(fuzz.Reader("x", tmp_path / "x", read), 60, seed=0)
    assert set(found) >= {"KeyError at ?", "a sentence of several lines"}
