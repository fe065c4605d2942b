"""The ablation of the objective: every row is an agent that can be built, at every length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from agent_cases import synthetic_table

from gtp_fast import agents
from gtp_fast.agents import task_settings
from gtp_fast.studies.ablation import ROWS, Ablation
from gtp_fast.studies.protocol import Protocol, Study


@pytest.mark.parametrize("steps", [1_000, task_settings.SHORT])
@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_an_agent_that_acts_by_the_map(row: str, steps: int, tmp_path: Path) -> None:
    protocol = Protocol("hopper-medium-expert", (0,), steps=steps)
    rows = Ablation(Study(tmp_path / "runs.json", protocol), synthetic_table(), {"width": 8}, 1)
    _, config = protocol.settings("gtp", rows.changes(row))
    assert config.act_by == "map" and config.width == 8
    agents.build("gtp", replace(config, k=2), 3, 2, (0,)).acting()
