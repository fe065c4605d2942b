"""The width of GTP's networks where the data are few: when it holds, and that a run says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sets

import gtp_fast
from gtp_fast import cli, train
from gtp_fast.agents import task_settings
from gtp_fast.studies import jobs
from gtp_fast.studies.protocol import Protocol
from gtp_fast.studies.sweeps import plan
from gtp_fast.training import config, sized

SMALL: dict[str, Any] = {
    "steps": 2, "batch_size": 4, "device": "cpu", "processes": 1, "env": "none", "log_every": 2,
}  # fmt: skip


def test_few_data_make_gtp_narrow_and_the_run_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = gtp_fast.fit(sets.flat(steps=40), output=tmp_path, **SMALL)
    assert run.run.config()["agent_settings"]["width"] == 128
    assert run.run.config()["setting_sources"]["width"] == sized.SOURCE
    out = capsys.readouterr().out
    assert "width       128, for fewer than 150,000 transitions" in out and sized.SOURCE in out
    again = gtp_fast.fit(sets.flat(steps=40), resume=run)
    assert again.run.config()["agent_settings"]["width"] == 128


@pytest.mark.parametrize(
    ("options", "width"),
    [({"width": 256}, 256), ({"width": 64}, 64), ({"preset": "paper"}, 256), ({"eta": 0.0}, 128),
     ({"agent": "bc"}, 256)],
)  # fmt: skip
def test_a_width_that_was_asked_for_and_other_agents_stay(
    options: dict[str, Any], width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = gtp_fast.fit(sets.flat(steps=40), output=tmp_path, **SMALL, **options)
    assert run.run.config()["agent_settings"]["width"] == width
    assert ("width       128" in capsys.readouterr().out) == (width == 128)
    assert ("width" in run.run.config()["setting_sources"]) == (width == 128)


def test_the_limit_is_a_number_of_transitions() -> None:
    command = config.parse(["--task", "hopper-medium"])
    assert [sized.settings(command, rows).width for rows in (149_999, 150_000)] == [128, 256]
    for words in (["--width", "256"], ["--width=256"]):
        asked = config.parse(["--task", "hopper-medium", *words])
        assert sized.settings(asked, 10).width == 256
    # The demo's own width is narrower still.
    demo = config.parse(["--task", "pointmaze-demo"])
    assert sized.settings(demo, 10).width == 64


def test_a_tasks_own_width_stays_though_it_is_that_of_the_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = task_settings.Entry("hopper-medium", "tried", {"width": 256})
    monkeypatch.setitem(task_settings.TABLE, "gtp", (own,))
    assert sized.settings(config.parse(["--task", "hopper-medium"]), 10).width == 256
    assert sized.settings(config.parse(["--task", "walker2d-medium"]), 10).width == 128


@pytest.mark.parametrize(
    ("given", "width"),
    [({}, 128), ({"width": 256}, 256), ({"width": 64}, 64), ({"agent": "bc"}, 256)],
)
def test_a_study_trains_what_a_single_run_trains(
    given: dict[str, Any], width: int, tmp_path: Path
) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(f"jobs: [{json.dumps({'task': 'hopper-medium'} | given)}]")
    changes = {name: value for name, value in given.items() if name != "agent"}
    of_study = Protocol("hopper-medium", (0,)).command(given.get("agent", "gtp"), changes)
    for command in (*plan.read(file), of_study):
        assert sized.settings(command, 10).width == width


def test_a_sweep_of_the_papers_settings_keeps_their_width() -> None:
    first = plan.paper(["hopper-medium"])[0]
    assert (first.run.agent, sized.settings(first, 10).width) == ("gtp", 256)
    assert not sized.pinned(first)


def test_a_job_whose_width_was_asked_for_is_another_than_one_by_the_data(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    names = []
    for more in ({}, {"width": 256}, {"width": 128}):
        file.write_text(f"jobs: [{json.dumps({'task': 'hopper-medium'} | more)}]")
        names += [jobs.name(command) for command in plan.read(file)]
    assert len(set(names)) == 3
    # The agents whose width never follows from the data keep the names of their jobs.
    for more in ({}, {"width": 256}):
        file.write_text(f"jobs: [{json.dumps({'task': 'hopper-medium', 'agent': 'bc'} | more)}]")
        names += [jobs.name(command) for command in plan.read(file)]
    assert names[-1] == names[-2]


def test_the_command_line_follows_the_rule_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **sets.flat(steps=40))
    words = ["--dataset", str(tmp_path / "x.npz"), "--output", str(tmp_path / "runs")]
    for name, value in SMALL.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    assert cli.run(train.main, words) == 0
    (text,) = [path.read_text() for path in (tmp_path / "runs").glob("*/config.yaml")]
    assert "width: 128" in text
