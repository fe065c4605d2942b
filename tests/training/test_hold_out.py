"""Episodes that are held out: which, that nothing trains on them, and what their error tells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sets
import torch
from fake_runs import add_scores, config

import gtp_fast
from gtp_fast import cli, evaluate, report, tasks
from gtp_fast.data import hold_out, load_table
from gtp_fast.errors import UserError
from gtp_fast.runs import Run, checkpoint, guidance
from gtp_fast.studies import conditions
from gtp_fast.tasks import of_dataset

SMALL: dict[str, Any] = {
    "steps": 20, "width": 16, "k": 2, "batch_size": 8, "log_every": 5, "checkpoint_every": 10,
    "device": "cpu", "processes": 1, "env": "none",
}  # fmt: skip


@pytest.fixture
def arrays() -> dict[str, Any]:
    """Return 20 episodes of 5 rows."""
    found = sets.flat(steps=100)
    del found["terminals"], found["timeouts"]
    found["next_observations"] = np.roll(found["observations"], -1, 0)
    return found | {"episode_ids": np.repeat(np.arange(20), 5)}


# What `reference.held_out(20, 0.25)` chooses.
CHOSEN = [3, 10, 13, 15, 16]


def test_a_share_of_the_episodes_is_a_table_of_its_own(arrays: dict[str, Any]) -> None:
    table = load_table(of_dataset("", "x"), arrays, use_cache=False)
    trained, held = hold_out.split(table, 0.25)
    ids = torch.arange(20).repeat_interleave(5)
    chosen = torch.isin(ids, torch.tensor(CHOSEN))
    assert torch.equal(hold_out.held_out(table, 0.25).rows, held.rows)
    assert torch.equal(held.rows, table.rows[chosen])
    assert torch.equal(trained.rows, table.rows[~chosen])
    assert held.episode.tolist() == [i for i in range(5) for _ in range(5)]
    assert trained.episode.unique().tolist() == list(range(15))
    assert trained.episode.dtype == held.episode.dtype == torch.int32
    assert (trained.episode_returns().shape, held.episode_returns().shape) == ((15,), (5,))


def test_a_small_share_holds_out_one_episode(arrays: dict[str, Any]) -> None:
    table = load_table(of_dataset("", "x"), arrays, use_cache=False)
    trained, held = hold_out.split(table, 0.001)
    assert (len(trained), len(held)) == (95, 5)


@pytest.mark.parametrize(("episodes", "share"), [(1, 0.1), (20, 0.99)])
def test_a_share_that_leaves_nothing_is_refused(
    arrays: dict[str, Any], episodes: int, share: float
) -> None:
    arrays["episode_ids"] = np.repeat(np.arange(episodes), 100 // episodes)
    table = load_table(of_dataset("", "x"), arrays, use_cache=False)
    with pytest.raises(UserError, match=f"leaves nothing of its {episodes} episode"):
        hold_out.split(table, share)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(
    arrays: dict[str, Any], share: float, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--hold-out must be at least 0 and below 1"):
        gtp_fast.fit(arrays, hold_out=share, output=tmp_path, **SMALL)


@pytest.mark.parametrize(
    ("agent", "normal"),
    [("gtp", False), ("bc", False), ("diffusion-ql", False), ("fql", False), ("bc", True)],
)
def test_nothing_trains_on_what_is_held_out(
    agent: str, normal: bool, arrays: dict[str, Any], tmp_path: Path
) -> None:
    options = {name: value for name, value in SMALL.items() if agent == "gtp" or name != "k"}
    options["normalise_observations"] = normal
    chosen = np.isin(np.repeat(np.arange(20), 5), CHOSEN)
    other = {key: value.copy() for key, value in arrays.items()}
    for key in ("observations", "actions", "rewards", "next_observations"):
        other[key][chosen] *= -0.5
    runs = [
        gtp_fast.fit(data, agent=agent, hold_out=0.25, output=tmp_path / name, **options)
        for name, data in (("a", arrays), ("b", other))
    ]
    one, two = (checkpoint.load(run.path) for run in runs)
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, two.tensors[name]), name
    figures = [run.metrics for run in runs]
    assert np.array_equal(figures[0]["trained_error"], figures[1]["trained_error"], equal_nan=True)
    assert not np.array_equal(
        figures[0]["held_out_error"], figures[1]["held_out_error"], equal_nan=True
    )


def test_a_run_that_goes_on_holds_the_same_episodes_out(
    arrays: dict[str, Any], tmp_path: Path
) -> None:
    whole = gtp_fast.fit(arrays, hold_out=0.25, output=tmp_path / "a", **SMALL)

    class Stop(gtp_fast.Callback):
        def on_checkpoint(self, step: int, path: Path) -> bool | None:
            return step == 10

    part = gtp_fast.fit(arrays, hold_out=0.25, output=tmp_path / "b", callbacks=[Stop()], **SMALL)
    part = gtp_fast.fit(arrays, resume=part)
    for name in ("held_out_error", "flow_loss"):
        one, two = (run.metrics[name][~np.isnan(run.metrics[name])] for run in (whole, part))
        assert np.array_equal(one, two), name
    for name in ("held_out_error", "trained_error"):
        assert part.summary["health"][name] == part.metrics[name][-1], name


def test_episodes_held_out_judge_a_policy_by_data_that_it_has_not_seen(
    arrays: dict[str, Any], tmp_path: Path
) -> None:
    np.savez(tmp_path / "set.npz", **arrays)
    options = SMALL | {"env": None, "hold_out": 0.25, "output": tmp_path / "a"}
    run = gtp_fast.fit(tmp_path / "set.npz", **options)
    (path,) = (run.path / "evaluations").iterdir()
    first = json.loads(path.read_text())
    # Five episodes of five rows.
    assert first["held_out"] == {"share": 0.25, "states": 25, "seen_in_training": False}
    path.unlink()
    assert cli.run(evaluate.main, [str(run), "--fqe", "--fqe-steps", "20"]) == 0
    assert json.loads(path.read_text()) == first


def test_runs_that_hold_out_otherwise_are_rows_of_their_own() -> None:
    rows = [
        conditions.of_run(config(**more), tasks.find("pointmaze-umaze"), "return")
        for more in ({}, {"hold_out": 0.0}, {"hold_out": 0.05})
    ]
    assert rows[0] == rows[1] != rows[2]


def test_a_page_shows_that_one_of_its_runs_holds_out(tmp_path: Path) -> None:
    runs = []
    for name, more in (("a", {}), ("b", {"hold_out": 0.05})):
        run = Run(tmp_path / name)
        run.path.mkdir()
        run.write_config(config(**more))
        add_scores(run, 100, [[1.0] * 3] * 2, [4, 7])
        runs.append(str(run))
    page = tmp_path / "page.html"
    assert cli.run(report.main, [*runs, "--html", str(page)]) == 0
    (row,) = re.findall(r"<tr>(?:(?!</tr>).)*>hold_out<.*?</tr>", page.read_text(), re.DOTALL)
    assert re.sub(r"<[^>]+>", " ", row).split() == ["hold_out", "0", "0.05"]


@pytest.mark.parametrize(
    ("errors", "trained", "said"),
    [
        ([0.4, 0.35, 0.36], [0.4, 0.3, 0.2], ""),
        ([0.4, 0.3, 0.33], [0.4, 0.3, 0.2], "was 0.3 after 2,000 updates and is 0.33 after 3,000"),
        ([0.2, 0.3, 0.33], [0.4, 0.3, 0.2], "was 0.2 after 1,000 updates and is 0.33 after 3,000"),
        ([0.4], [0.4], ""),
        # Guidance that leaves the data's actions raises both errors alike.
        ([0.4, 0.3, 0.4], [0.4, 0.3, 0.39], ""),
        ([0.4, 0.3, 0.4], [0.4, 0.3, 0.35], "was 0.3 after 2,000 updates and is 0.4 after 3,000"),
    ],
)
def test_an_error_that_has_risen_on_episodes_held_out_alone_is_a_sentence(
    errors: list[float], trained: list[float], said: str
) -> None:
    steps = 1000.0 * np.arange(1, len(errors) + 1)
    # Two seeds, whose mean counts.
    held, known = (np.array([[1.1 * e, 0.9 * e] for e in x]).ravel() for x in (errors, trained))
    columns = {
        "step": steps.repeat(2),
        "held_out_error": held,
        "trained_error": known,
        "map_error": np.full(2 * len(errors), 0.1),
        "euler_error": np.full(2 * len(errors), 0.1),
    }
    found = guidance.sentences(columns, 3000, "euler")
    assert found.keys() == ({"heart"} if said else set())
    assert said in found.get("heart", "")
