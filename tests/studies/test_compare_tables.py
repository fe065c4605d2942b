"""The two tables of a comparison: figures by hand, columns, the notes below them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from gtp_fast.studies import stats, tables


def test_both_tables_name_the_candidates() -> None:
    rows = tables.score_rows({"diffusion-ql": result([10.0]) | {"num_candidates": 50}})
    cost = {"hours": 1.0, "seconds_per_update": 1e-3, "milliseconds_per_action": 2.0, "k": 5}
    cost |= {"num_candidates": 50, "batch_size": 256, "network": "3 x 256"}
    about = ABOUT | {"machine": "a machine", "rounds": 2, "timed_updates": 2}
    for table in (tables.score_table(rows, ABOUT), tables.cost_table({"x": cost}, about)):
        assert "num_candidates |" in table.splitlines()[0] and "| 50 " in table
        assert "num_candidates: actions drawn for each decision" in table


def test_unusual_ways_to_act_have_columns_of_their_own() -> None:
    plain = result([10.0]) | {"candidate_rule": None, "noise_scale": 1.0}
    odd = result([20.0]) | {"num_candidates": 4, "candidate_rule": "argmax", "noise_scale": 0.0}
    usual = tables.score_table(tables.score_rows({"gtp": plain}), ABOUT)
    assert "candidate_rule" not in usual and "noise_scale" not in usual
    table = tables.score_table(tables.score_rows({"gtp": plain, "iql": odd}), ABOUT)
    head, _, ours, theirs = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[:4]
    )
    assert head[-2:] == ["candidate_rule", "noise_scale"]
    assert ours[-2:] == ["-", "1"] and theirs[-2:] == ["argmax", "0"]


def result(scores: list[float], shown: float | None = None) -> dict[str, object]:
    protocol = {"updates": 5, "k": 2, "num_candidates": 1, "episodes": 10}
    return {"scores": scores, "published": shown, **protocol}


ABOUT = {
    "environment": "Hopper-v5", "dataset": "hopper_medium-v2.hdf5", "transitions": 999_906,
    "official": True, "published_source": "a paper", "common": {},
}  # fmt: skip


def test_figures_of_the_table_of_scores() -> None:
    found = {"gtp": result([50.0, 70.0, 60.0, 80.0]), "iql": result([40.0, 60.0, 60.0, 50.0])}
    ours, theirs = tables.score_rows(found)
    assert ours["mean"] == 65.0 and ours["iqm"] == 65.0 and theirs["mean"] == 52.5
    assert ours["low"] < 65.0 < ours["high"]
    scores = [found["iql"]["scores"]]
    means, iqms = (stats.bootstrap_interval(scores, of) for of in (stats.mean, stats.iqm))
    assert (theirs["low"], theirs["high"]) == means != iqms
    assert (theirs["iqm_low"], theirs["iqm_high"]) == iqms
    wins = [(x > y) + 0.5 * (x == y) for x in found["gtp"]["scores"] for y in [40, 60, 60, 50]]
    assert theirs["gtp_better"] == pytest.approx(sum(wins) / 16)
    assert ours["gtp_better"] is None
    single = tables.score_rows({"bc": result([10.0])})[0]
    assert math.isnan(single["low"])
    table = tables.score_table([single], ABOUT)
    assert "| bc    | 10.0" in table and "[" not in table.splitlines()[2]
    assert "Last checkpoint, 1 seed, " in table


def test_the_file_of_a_single_seed_is_strict_json(tmp_path: Path) -> None:
    tables.write(tmp_path, {"bc": result([10.0])}, {}, ABOUT)
    whole = (tmp_path / "comparison.json").read_text()
    (row,) = json.loads(whole, parse_constant=lambda name: pytest.fail(name))["scores"]
    assert (row["mean"], row["low"], row["iqm_high"]) == (10.0, None, None)


def test_published_scores_show_only_where_there_are_some() -> None:
    rows = tables.score_rows({"gtp": result([90.0], 90.3), "iql": result([60.0], 66.3)})
    assert "| published" in tables.score_table(rows, ABOUT)
    assert "66.3" in tables.score_table(rows, ABOUT)
    assert "a paper" in tables.score_table(rows, ABOUT)
    rows = tables.score_rows({"gtp": result([90.0])})
    assert "| published" not in tables.score_table(rows, ABOUT)


def test_tables_say_that_no_critic_guides_gtp_where_none_does() -> None:
    cost = {"hours": 1.0, "seconds_per_update": 1e-3, "milliseconds_per_action": 2.0, "k": 5}
    cost |= {"num_candidates": 1, "batch_size": 256, "network": "3 x 256"}
    about = ABOUT | {"machine": "a machine", "rounds": 2, "timed_updates": 2}
    said = "gtp is guided by whole episodes and trains no critic (docs/guidance.md)"
    plain = tables.score_rows({"gtp": result([90.0])})
    shown = tables.score_rows({"gtp": result([90.0], 90.3)})
    for by_episodes in (True, False):
        told = about | {"by_episodes": by_episodes}
        costs = tables.cost_table({"gtp": cost}, told)
        scores = tables.score_table(plain, told)
        assert [f"{said}." in table for table in (costs, scores)] == [by_episodes] * 2
        published = f"{said}; the published gtp has a critic's weights."
        assert (published in tables.score_table(shown, told)) == by_episodes
    assert said not in tables.cost_table({"bc": cost}, about | {"by_episodes": True})


def test_diverged_seeds_stand_below_the_scores() -> None:
    found = {
        "gtp": result([90.0, 10.0]) | {"diverged": ["seed 7 at update 3"]},
        "bc": result([1.0]),
    }
    rows = tables.score_rows(found)
    assert [row["diverged"] for row in rows] == ["seed 7 at update 3", ""]
    said = "Diverged, and evaluated as before: gtp, seed 7 at update 3."
    assert said in tables.score_table(rows, ABOUT)
    assert "Diverged" not in tables.score_table(rows[1:], ABOUT)
