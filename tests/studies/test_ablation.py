"""The ablation of the objective: every row is an agent that can be built, at every length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from agent_cases import synthetic_table
from fake_runs import make_run
from sweep_cases import arrays

from gtp_fast import ablate, agents, cli, data
from gtp_fast.agents import task_settings
from gtp_fast.data.table import Provenance
from gtp_fast.studies import jobs
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


def test_a_row_that_ended_without_its_scores_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = arrays(tmp_path)
    given = ["--dataset", str(file), "--rows", "gtp", "flow", "--steps", "3", "--width", "8"]
    given += ["--output", str(tmp_path / "out"), "--task", "hopper-medium", "--device", "cpu"]
    home = make_run(tmp_path / "out" / "run", 100, evaluation={"environment": "{}"})

    class Ended:
        run = home

        def train(self) -> int:
            return 0

    monkeypatch.setattr(jobs, "trainer", lambda job: Ended())
    monkeypatch.setattr(Ablation, "measure", lambda *_: None)
    monkeypatch.setattr(data, "load_table", lambda *_: synthetic_table())
    assert cli.run(ablate.main, given) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == [f"no scores of {n}: {jobs.unfinished(home)}" for n in ("gtp", "flow")]


@pytest.mark.parametrize(
    ("task", "dataset", "said"),
    [
        ("pointmaze-demo", "any", None),
        ("hopper-medium-expert", "any", "trains no critic (docs/guidance.md)."),
        (
            "hopper-medium-expert",
            "hopper_medium_expert-v2.hdf5",
            "trains no critic (docs/guidance.md); the published gtp has a critic's weights.",
        ),
    ],
)
def test_the_table_says_what_guides_gtp(
    task: str, dataset: str, said: str | None, tmp_path: Path
) -> None:
    study = Study(tmp_path / "runs.json", Protocol(task, (0,), steps=1000))
    table = replace(synthetic_table(), provenance=Provenance(dataset, True, "made by a test"))
    text = Ablation(study, table, {}, 1).table()
    assert said in text if said else "trains no critic" not in text
