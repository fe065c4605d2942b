"""The short form of the campaign against the readers."""

from __future__ import annotations

import io
import random
import zipfile
import zlib
from pathlib import Path

import fuzz
import mutate
import numpy as np
import pytest
import totals
from readers import all_readers

from gtp_fast.errors import UNREADABLE, UserError


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


def test_the_table_of_all_campaigns_counts_failures(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [totals.Total("files", 1200, 0, 3), totals.Total("TSan: team", 0, 0, note="no g++")]
    assert totals.show(rows) == 0
    found = {"OTHER BITS": 2, "LOST": 1, "went on to the same bits": 9}
    assert totals.listed(found) == "9 went on to the same bits, 2 OTHER BITS, 1 LOST"
    assert totals.show([*rows, totals.Total("kills", 12, totals.failures(found), 3)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "| files | 1,200 | 0 | 3 |" in lines
    assert "| TSan: team | not here: no g++ | 0 | - |" in lines
    assert lines[-1] == "| in total | 1,212 | 3 | |"


def test_archives_and_policies_are_broken_under_their_right_checksum() -> None:
    draw, made = random.Random(0), io.BytesIO()
    np.savez(made, x=np.arange(99.0), y=np.zeros(3))
    whole = made.getvalue()
    broken = [mutate.archived(whole, draw) for _ in range(40)]
    opened = [one for one in broken if one != whole and _passes(one)]
    assert len(opened) > 10
    signed = [mutate.signed(b"content" * 9 + bytes(4), draw) for _ in range(20)]
    right = [x for x in signed if zlib.crc32(x[:-4]).to_bytes(4, "little") == x[-4:]]
    assert len(right) > 10


def _passes(archive: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as file:
            return file.testzip() is None
    except UNREADABLE:
        return False
