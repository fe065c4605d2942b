"""The report's pictures: curves with clone and data, losses, and plots that are refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import SETTINGS, scored_run

from gtp_fast import cli, report, tasks
from gtp_fast.errors import UserError
from gtp_fast.runs.metrics import MetricsLog
from gtp_fast.studies import curves, groups, losses, page, stats
from gtp_fast.system import figure


def test_the_plot_shows_curve_clone_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k))
    )
    settings = SETTINGS | {"eta": [0.0]}
    clone = scored_run(tmp_path / "a", {100: [[0.0, 1.0], [0.0, 1.0]]}, agent_settings=settings)
    guided = scored_run(
        tmp_path / "b", {50: [[0.0, 1.0], [1.0, 1.0]], 100: [[1.0, 1.0], [1.0, 1.0]]}
    )
    guided.write_summary({"data_success_rate": 0.25, "dataset": "named/set-v0"})
    path = curves.learning_curve(guided, clone)
    assert path == guided.path / "learning_curve.png"
    assert path.read_bytes()[:4] == b"\x89PNG"
    (axis,) = drawn[0].axes
    lines = {line.get_label(): line.get_ydata() for line in axis.lines}
    assert list(lines["gtp (eta=1)"]) == [75.0, 100.0]
    assert set(lines["behaviour cloning"]) == {50.0}
    assert set(lines["the data's own policy"]) == {25.0}
    assert "named/set-v0" in axis.get_title()
    assert axis.get_ylabel() == "success rate (%)"


def test_scores_and_raw_figures_of_one_task_have_panels_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: drawn.append(self))
    returns = {50: [[1.0], [0.0]], 100: [[1.0], [1.0]]}
    facts = tasks.find("hopper-medium").without_reference("Toy-v0").facts()
    paths = [
        str(scored_run(tmp_path / "a", returns, task="hopper-medium")),
        str(scored_run(tmp_path / "b", returns, task="hopper-medium", task_facts=facts)),
    ]
    curves.draw(groups.collect(paths), tmp_path / "plot.png")
    units = ["normalised return", "success rate (%)"]
    assert [axis.get_ylabel() for axis in drawn[0].axes] == units
    assert all(len(axis.lines) == 1 for axis in drawn[0].axes)
    page.write(paths, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    shown = text[text.index('id="curves"') :]
    for unit in units:
        assert f"{unit}, trained on" in text
        assert unit in shown[: shown.index("</section>")]


def test_drawing_leaves_the_callers_backend_alone(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    curves.learning_curve(scored_run(tmp_path / "a", {10: [[1.0], [0.0]]}))
    assert "matplotlib.pyplot" not in sys.modules


def test_missing_matplotlib_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = scored_run(tmp_path / "a", {10: [[1.0], [0.0]]})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install 'gtp_fast\[plot\]'"):
        curves.draw(groups.collect([str(run)]), tmp_path / "plot.png")


@pytest.mark.parametrize("name", ["x", "x.doc"])
def test_a_plot_without_a_kind_is_refused_before_anything_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    done = scored_run(tmp_path / "a", {10: [[1.0], [0.0]]})
    monkeypatch.setattr(groups, "collect", lambda *_, **__: pytest.fail("read in vain"))
    assert cli.run(report.main, [str(done), "--plot", str(tmp_path / name)]) == 2
    assert f"{name} is no name of a figure: let it end in .png" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_plot_beside_a_page_leaves_out_runs_without_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    none = scored_run(tmp_path / "a", {}, agent_settings=SETTINGS | {"k": 2})
    done = scored_run(tmp_path / "b", {10: [[1.0], [0.0]]})
    out = ["--html", str(tmp_path / "x.html"), "--plot", str(tmp_path / "x.svg")]
    assert cli.run(report.main, [str(none), str(done), *out]) == 0
    assert "<svg" in (tmp_path / "x.svg").read_text() and (tmp_path / "x.html").exists()
    capsys.readouterr()
    assert cli.run(report.main, [str(none), *out]) == 2
    assert "No run has been evaluated yet" in capsys.readouterr().err


def test_losses_are_drawn_from_the_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    run = scored_run(tmp_path / "a", {}, seeds=[4, 7])
    out = tmp_path / "losses.svg"
    with pytest.raises(UserError, match="No run has a loss"):
        report.main([str(run), "--plot", str(out), "--losses"])
    with pytest.raises(UserError, match="--losses says what --plot draws"):
        report.main([str(run), "--losses"])
    log = MetricsLog(run.metrics, (4, 7))
    for step in range(1, 501):
        log.write(step, {"critic_loss": [step, 3.0 * step], "q": 1.0})
    assert report.main([str(run), "--plot", str(out), "--losses"]) == 0
    assert f"plot: {out}" in capsys.readouterr().out and out.stat().st_size > 1000
    steps, values = losses.curve(losses.joined(groups.collect([str(run)], True)[0]), "critic_loss")
    # Means over the seeds are 2 step; each point is the mean of three neighbours.
    assert len(steps) == 167 and steps[:2].tolist() == [3, 6] and steps[-1] == 500
    assert values[:2].tolist() == [4, 10] and values[-1] == 999


def test_agents_with_losses_of_other_names_are_drawn_in_one_figure(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs, out = [], tmp_path / "losses.svg"
    for agent, name in (("gtp", "flow_loss"), ("bc", "cloning_loss")):
        runs.append(scored_run(tmp_path / agent, {}, agent=agent))
        MetricsLog(runs[-1].metrics, (4, 7)).write(1, {name: 2.0})
    assert report.main([*map(str, runs), "--plot", str(out), "--losses"]) == 0
    found = groups.collect([str(run) for run in runs], unscored=True)
    columns = losses.joined(found[0])
    assert [len(losses.curve(columns, name)[0]) for name in ("flow_loss", "cloning_loss")] == [1, 0]


def test_a_loss_that_nothing_trains_has_no_panel(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run, out = scored_run(tmp_path / "a", {}, seeds=[4]), tmp_path / "losses.svg"
    log = MetricsLog(run.metrics, (4,))
    log.write(500, {"critic_loss": 0.0, "flow_loss": 2.0})
    log.write(500, {"weight_ess": 1.0})
    paths = [str(run)]
    assert report.main([*paths, "--plot", str(out), "--losses"]) == 0
    drawn = out.read_text()
    assert "flow loss" in drawn and "critic loss" not in drawn
    assert report.main([*paths, "--html", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "Flow loss" in page and "Critic loss" not in page
    trained = scored_run(tmp_path / "b", {}, seeds=[4], agent_settings=SETTINGS | {"k": 2})
    MetricsLog(trained.metrics, (4,)).write(500, {"critic_loss": 1.0, "flow_loss": 2.0})
    assert report.main([*paths, str(trained), "--plot", str(out), "--losses"]) == 0
    assert "critic loss" in out.read_text()


def test_a_loss_of_one_row_is_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    figures: list[Any] = []

    def kept(width: float, height: float) -> Any:
        made = figure.figure(width, height)
        figures.append(made[0])
        return made

    monkeypatch.setattr(losses, "canvas", kept)
    run = scored_run(tmp_path / "a", {}, seeds=[4])
    log = MetricsLog(run.metrics, (4,))
    for step in (500, 1000):
        log.write(step, {"flow_loss": 2.0})
        losses.draw(groups.collect([str(run)], True), tmp_path / "losses.svg")
    assert [made.axes[0].lines[0].get_marker() for made in figures] == ["o", "None"]


def test_a_band_is_the_interval_of_the_mean() -> None:
    values = np.array([0.0, 0.0, 1.0, 5.0, 9.0])
    assert curves.band(values) == stats.bootstrap_interval([values], stats.mean)
    assert curves.band(values[3:4]) == (5.0, 5.0)
