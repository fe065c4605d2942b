"""The toy command, its tables and the ablation: small runs, and entries that are known."""

from __future__ import annotations

import csv
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_runs import add_scores, make_run
from forks import workers

from gtp_fast import ablate
from gtp_fast.agents.gtp.config import resolved, term_names
from gtp_fast.data.table import Provenance
from gtp_fast.errors import UserError
from gtp_fast.studies import ablation
from gtp_fast.toy import __main__ as toy
from gtp_fast.toy import draw, experiment, report, store, tables, theorem_figure
from gtp_fast.toy.methods import METHODS, config
from gtp_fast.toy.targets import targets
from gtp_fast.toy.theorem import gaps

PAGE = Path(__file__).parents[2] / "docs" / "theory.md"


def cells(page: str, name: str) -> list[list[str]]:
    """Return the rows of a table between its markers."""
    part = page.split(f"<!-- {name}:begin -->")[1].split(f"<!-- {name}:end -->")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.strip().split("\n")]


# --- tables of the page --------------------------------------------------------------------------


def test_the_page_holds_what_the_code_computes() -> None:
    page = PAGE.read_text()
    shown = {row[0]: row[1:] for row in cells(page, "gaussian")[2:]}
    for line in tables.gaussian_table((11, 41)).split("\n")[2:]:
        count, *values = [cell.strip() for cell in line.split("|")[1:-1]]
        assert shown[count] == values
    assert shown["1281"][:2] == ["0.4989", "0.1550"]
    coarse = {row[0]: row[1:] for row in cells(page, "two-modes")[2:]}
    row = tables.mixture_table(((11, 5),)).split("\n")[2]
    assert coarse["11, 5"] == [cell.strip() for cell in row.split("|")[2:-1]]
    assert "\n".join("| " + " | ".join(r) + " |" for r in cells(page, "unified-view")) == (
        tables.unified_view()
    )


def test_tables_go_between_their_markers_and_nowhere_else() -> None:
    text = "before\n<!-- a:begin -->\nold\n<!-- a:end -->\nafter"
    assert tables.between_markers(text, "a", "new") == (
        "before\n<!-- a:begin -->\n\nnew\n\n<!-- a:end -->\nafter"
    )
    with pytest.raises(UserError, match="lacks the markers"):
        tables.between_markers(text, "b", "new")


@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_figure_of_theorem_1_shows_a_gap_that_stays(order: int) -> None:
    coarse, fine = (gaps(2.0, 1.0, steps, order) for steps in (1, 64))
    assert fine == pytest.approx((0.05496, 0.05109), abs=2e-4)
    assert min(coarse) > 0.04
    near = gaps(2.0, 2.0 - 1 / 64, 1, order)
    assert max(near) < 1e-5


# --- the toy -------------------------------------------------------------------------------------


def test_targets_are_what_they_say() -> None:
    for target in targets().values():
        drawn = target.truth(4000, 3)
        assert drawn.shape == (4000, target.action_dim)
        assert np.abs(target.table.all().action.numpy()).max() <= 1
        if not target.control:
            shares = experiment._shares(drawn, target)
            assert shares.sum() > 0.98
            assert shares.min() > 0.8 / len(target.modes)
            assert experiment.distance(drawn, target.truth(4000, 4)) < 0.03


def test_distances_are_those_of_known_shifts() -> None:
    points = np.random.default_rng(0).standard_normal((500, 2))
    # A shift by s has sliced W1 s times the mean of |cos|.
    assert experiment.distance(points, points + np.array((0.5, 0.0))) == pytest.approx(
        1 / np.pi, rel=1e-2
    )
    assert experiment.distance(points[:, :1], points[:, :1] - 0.3) == pytest.approx(0.3)


def test_every_method_has_settings_that_train() -> None:
    for method in METHODS:
        assert term_names(resolved(config(method)))
    assert {m.settings.get("objective", "gtp") for m in METHODS} == {
        "gtp", "flow", "consistency", "ctm", "solver", "shortcut", "mean-flow", "linear-q",
    }  # fmt: skip


@pytest.fixture(scope="module")
def results() -> list[experiment.Result]:
    """A few updates of three methods on the line and among the goals."""
    chosen = [m for m in METHODS if m.name in ("gtp", "flow, Euler", "flow, Heun", "consistency")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "METHODS", chosen)
        patch.setattr(experiment, "COUNT", 200)
        names = ("two modes", "four goals")
        return [r for name in names for r in experiment.run(targets()[name], 3, (0, 1))]


def test_results_are_measured_for_every_k(results: list[experiment.Result]) -> None:
    for result in results:
        for values in (result.distance, result.modes, result.outside):
            assert tuple(values) == experiment.STEPS
            assert all(np.isfinite(list(values.values())))
        if result.target == "two modes":
            paths = result.paths
            assert paths["jump"].shape == (len(paths["times"]), 13)
            assert paths["steps"].shape == (6, 13)
            assert np.array_equal(paths["jump"][0], paths["steps"][0])
        else:
            assert result.paths["walks"].shape == (11, 60, 2)
    euler, heun = (next(r for r in results if r.method == f"flow, {n}") for n in ("Euler", "Heun"))
    # One step to time 0 is the same for both; more steps are not.
    assert np.allclose(euler.actions[1], heun.actions[1])
    assert not np.allclose(euler.actions[5], heun.actions[5])


def test_the_command_writes_figure_and_tables(
    results: list[experiment.Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    store.write(results, tmp_path / "results.npz")
    assert toy.main(["--redraw", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "toy.png").stat().st_size > 10_000
    rows = list(csv.DictReader((tmp_path / "toy.csv").open()))
    assert len(rows) == len(results) * len(experiment.STEPS)
    page = (tmp_path / "toy.md").read_text()
    assert page.startswith("# ") and page in capsys.readouterr().out
    # What a cell holds is said before the first of them.
    assert page.index("Cells: ") < page.index("\n## two modes") < page.index("\n## four goals")
    committed = (Path(__file__).parents[2] / "docs" / "toy.md").read_text()
    assert committed.split("\n## ")[0] == page.split("\n## ")[0]
    with pytest.raises(UserError, match="leave out --redraw"):
        toy.main(["--redraw", "--output", str(tmp_path / "empty")])
    assert callable(draw.draw) and callable(report.markdown)


def test_a_method_that_leaves_the_rails_is_named_and_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(experiment, "EXPLODED", 1e-9)
    target = targets()["two modes"]
    agent, _, diverged = experiment.train(target, METHODS[0], 200, (0, 1))
    assert "loss" in diverged and "at update 50, seed 0" in diverged
    assert torch.isfinite(agent.actor.parameters.flat).all()


# --- the ablation --------------------------------------------------------------------------------


def test_the_ablation_names_its_rows_and_their_settings() -> None:
    with pytest.raises(UserError, match="Unknown rows gpt"):
        ablate.main(["--rows", "gtp", "gpt"])
    assert set(ablation.PUBLISHED) <= set(ablation.ROWS)


def make_ablation(
    monkeypatch: pytest.MonkeyPatch, dataset: str, tmp_path: Path, **more: Any
) -> ablation.Ablation:
    target = targets()["four goals"].table
    table = replace(target, provenance=Provenance(dataset, True, "made by a test"))
    monkeypatch.setattr(ablate.data, "load_table", lambda *_: table)
    given = {
        "rows": ("gtp", "mean-flow"), "steps": 20, "episodes": 2, "width": 8, "batch_size": 16,
        "rounds": 2, "seeds": (4, 7), "output": tmp_path, "device": "cpu",
    }  # fmt: skip
    return ablate.prepare(ablate.Options(**given | more))


def finish(rows: ablation.Ablation, name: str, returns: list[float]) -> None:
    """Leave a run of a row as its training would, with scores of both seeds."""
    run = make_run(rows.folder / name, 20, steps=20, evaluation={"environment": "some"})
    add_scores(run, 20, [[value] for value in returns], [4, 7])
    run.write_summary({"diverged": {"7": 9}})
    protocol = rows.study.protocol.facts("gtp", rows.changes(name))
    rows.study.note(name, run=str(run), protocol=protocol)


def test_rows_are_timed_in_turns_and_kept(monkeypatch, tmp_path: Path) -> None:
    rows = make_ablation(monkeypatch, "mujoco/hopper/medium-v0", tmp_path)
    rows.measure(("gtp", "mean-flow"))
    finish(rows, "gtp", [1.0, 1.1])
    finish(rows, "mean-flow", [0.0, 0.0])
    rows.study.note("mean-flow", diverged="consistency_loss of seed 0 at update 7")
    table = rows.write()
    assert (tmp_path / "table.md").read_text() == table
    assert "105.0 [100.0, 110.0] (diverged: seed 7 at update 9) | 100.0 110.0 |" in table
    assert "1.00 x" in table
    assert "diverged (consistency_loss of seed 0 at update 7)" in table
    assert "20 updates of 2 seeds (width 8, batch 16)" in table
    assert "published |" not in table
    again = make_ablation(monkeypatch, "mujoco/hopper/medium-v0", tmp_path)
    assert again.times == rows.times and again.table() == table
    assert ablate.train(again, "gtp") == ablate.train(again, "mean-flow") == 0
    with pytest.raises(UserError, match=r"holds gtp under another protocol \(episodes differ\)"):
        make_ablation(monkeypatch, "mujoco/hopper/medium-v0", tmp_path, episodes=3)


@pytest.mark.parametrize("change", [{"width": 16}, {"rounds": 3}, {"backend": "reference"}])
def test_times_of_other_settings_are_measured_again(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = make_ablation(monkeypatch, "mujoco/hopper/medium-v0", tmp_path)
    rows.measure(("gtp",))
    kept = tmp_path / "times.json"
    content = kept.read_text()
    assert make_ablation(monkeypatch, "mujoco/hopper/medium-v0", tmp_path).times == rows.times
    other = make_ablation(monkeypatch, "mujoco/hopper/medium-v0", tmp_path, **change)
    assert other.times == {}
    other.measure(("gtp",))
    assert set(other.times) == {"gtp"} and kept.read_text() != content


def test_times_without_their_settings_are_measured_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "times.json").write_text('{"gtp": 0.001}')
    assert make_ablation(monkeypatch, "mujoco/hopper/medium-v0", tmp_path).times == {}
    for damaged in ("[]", "{"):
        (tmp_path / "times.json").write_text(damaged)
        with pytest.raises(UserError, match=r"times\.json cannot be read .*; delete it"):
            make_ablation(monkeypatch, "mujoco/hopper/medium-v0", tmp_path)


def test_published_numbers_stand_beside_the_published_data_only(monkeypatch, tmp_path) -> None:
    rows = make_ablation(monkeypatch, "hopper_medium_expert-v2.hdf5", tmp_path)
    finish(rows, "gtp", [1.0, 1.0])
    assert "112.2 +- 0.6" in rows.table()
    other = make_ablation(monkeypatch, "mujoco/hopper/medium-expert-v0", tmp_path)
    assert "112.2" not in other.table()


@pytest.mark.parametrize("option", ["updates", "processes"])
def test_numbers_that_train_nothing_are_refused(option: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--{option} must be at least 1, not 0"):
        toy.main([f"--{option}", "0", "--output", str(tmp_path)])


@pytest.mark.parametrize("seeds", [["--seeds"], ["0", "0"], ["-1"], [str(2**63)]])
def test_seeds_are_those_that_train_takes(seeds: list[str], tmp_path: Path) -> None:
    given = seeds if seeds[0] == "--seeds" else ["--seeds", *seeds]
    with pytest.raises(UserError, match="--seeds must"):
        toy.main([*given, "--output", str(tmp_path)])


def test_a_killed_process_ends_the_toy_in_a_sentence() -> None:
    def kill() -> None:
        while not (found := workers(os.getpid())):
            time.sleep(0.1)
        os.kill(found[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(UserError, match=r"trains the toy \(process \d+\) was ended by SIGKILL"):
        experiment.run_all(100_000, (0,), 1)
    killer.join()


@pytest.mark.parametrize("name", ["theorem", "theorem.xyz"])
def test_a_figure_without_a_kind_is_refused_before_the_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(theorem_figure, "gaps", lambda *_: pytest.fail("computed in vain"))
    with pytest.raises(UserError, match=f"{name} is no name of a figure"):
        toy.main(["theorem", "--output", str(tmp_path / "new" / name)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [[], ["theorem"]])
def test_a_place_that_cannot_be_made_is_a_sentence(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="could not be written"):
        toy.main([*command, "--output", str(tmp_path / "file" / "below" / "toy.png")])
