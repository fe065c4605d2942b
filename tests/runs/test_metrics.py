"""metrics.csv: readable at every moment, gone on with exactly, one column a metric."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gtp_fast.errors import UserError
from gtp_fast.runs.metrics import MetricsLog, read


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_for_each_step_and_seed(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.csv", seeds=(3, 9))
    log.write(100, {"loss": [0.5, 1 / 3], "nodes": 11})
    log.write(200, {"loss": [float("nan"), 2e-12], "nodes": 21})
    assert rows(log.path) == [
        {"step": "100", "seed": "3", "loss": "0.5", "nodes": "11"},
        {"step": "100", "seed": "9", "loss": "0.333333333", "nodes": "11"},
        {"step": "200", "seed": "3", "loss": "nan", "nodes": "21"},
        {"step": "200", "seed": "9", "loss": "2e-12", "nodes": "21"},
    ]


def test_a_new_metric_adds_a_column_and_keeps_every_row(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.csv", seeds=(0,))
    log.write(1, {"loss": 5.0})
    log.write(1, {"score": 7.0})
    log.write(2, {"loss": 4.0})
    assert log.path.read_text() == "step,seed,loss,score\n1,0,5,\n1,0,,7\n2,0,4,\n"


def test_a_resumed_table_is_the_one_that_was_never_interrupted(tmp_path: Path) -> None:
    whole = MetricsLog(tmp_path / "whole.csv", seeds=(0, 1))
    broken = MetricsLog(tmp_path / "broken.csv", seeds=(0, 1))
    for log in (whole, broken):
        for step in (10, 20):
            log.write(step, {"loss": [step, -step]})
        log.write(20, {"score": [1.0, 2.0]})
    broken.write(30, {"loss": [99.0, 99.0]})
    with broken.path.open("a") as file:
        file.write("40,0,1")
    resumed = MetricsLog(broken.path, seeds=(0, 1), resume_step=20)
    for log in (whole, resumed):
        log.write(30, {"loss": [30.0, -30.0]})
    assert resumed.path.read_text() == whole.path.read_text()


def test_a_line_that_a_crash_cut_short_is_dropped(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.csv", seeds=(0,))
    log.write(10, {"loss": 123.0})
    log.write(20, {"loss": 456.0})
    text = log.path.read_text()
    log.path.write_text(text[:-2])
    MetricsLog(log.path, seeds=(0,), resume_step=20)
    assert log.path.read_text() == "step,seed,loss\n10,0,123\n"


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"metrics\.csv is no table of ours"):
        MetricsLog(path, seeds=(0,))
    assert path.read_text() == "a,b\n1,2\n"


def test_a_table_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "gone" / "metrics.csv", seeds=(0,))
    with pytest.raises(UserError, match=r"metrics\.csv could not be written"):
        log.write(1, {"loss": 1.0})


def test_steps_are_read_as_any_number_that_pandas_writes(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,seed,loss\n10.0,0,1\n2e1,0,2\n30.0,0,3\n")
    MetricsLog(path, seeds=(0,), resume_step=20)
    assert path.read_text() == "step,seed,loss\n10.0,0,1\n2e1,0,2\n"
    assert read(path)["step"].tolist() == [10.0, 20.0]


@pytest.mark.parametrize("step", ["", "ten", "nan", "1,000"])
def test_a_step_that_is_no_number_is_a_sentence(step: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(content := f'step,seed,loss\n"{step}",0,1\n')
    with pytest.raises(UserError, match=r"metrics\.csv .* move it away"):
        MetricsLog(path, seeds=(0,), resume_step=20)
    assert path.read_text() == content
