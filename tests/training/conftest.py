"""A small dataset and a cache of their own for the tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from train_runs import on_a_file

from gtp_fast import collect


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gymnasium_robotics")
    root = tmp_path_factory.mktemp("minari")
    return collect.collect("pointmaze-demo", 1500, output=root, progress=False).path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of `fit` for a small file without an environment, with a cache of their own."""
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "cache"))
    return on_a_file(tmp_path)
