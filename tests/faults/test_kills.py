"""The short form of the campaign that kills training."""

from __future__ import annotations

import os
from pathlib import Path

import kills
import pytest
import torch

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(autouse=True)
def _one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "cache"))


@needs_fork
def test_killed_runs_lose_no_checkpoint_and_go_on_to_the_same_bits(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        campaign = kills.Campaign(tmp_path, processes=1)
        span = campaign.operations - campaign.first
        at = [campaign.trial(i, campaign.first + span * i // 3, 0.0) for i in range(3)]
        later = campaign.trial(9, None, campaign.seconds / 3)
    finally:
        torch.set_num_threads(threads)
    assert {*at, later} <= {"went on to the same bits", "over before the kill"}
    assert at[0] == "went on to the same bits"


@needs_fork
def test_the_campaign_sees_a_lost_checkpoint(tmp_path: Path) -> None:
    campaign = object.__new__(kills.Campaign)
    assert campaign._judged(tmp_path / "nothing", finished=8) == "LOST"
    assert campaign._judged(tmp_path / "nothing", finished=0) == "no checkpoint yet"
