"""Value guidance of a run by its metrics.csv: last figures, and whether it is noise.

The figures are those of `agents.health`. Their means over the second half of a run and over its
seeds are compared with four limits:

- effective sample size of the weights, as a share of the rows: at least 0.3;
- correlation of two draws of the weights: at least 0.5;
- mean weight of the best quartile of episodes, how often its rows are drawn included: no more than
  5 % below that of the worst;
- error of the mean action by the K-step map, where it acts: at most 1.2 times that of K Euler
  steps.

Guidance beyond any of the first three is noise; a map beyond the last lags behind its own flow. A
row in which all weights of a seed are the same has no advantage weights: it counts for neither of
the first two figures, and for the third only where whole episodes guide.

Where episodes are held out, the error on them is followed from its least value on. Guidance away
from the data raises it and the error on trained rows alike. Where it rises by more than that and
5 % of its least value together, the policy learns the data by heart.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtp_fast.runs import Run, metrics

Columns = dict[str, NDArray[np.float64]]
Figures = dict[str, float]

LEAST_ESS, LEAST_CORRELATION, LEAST_ORDER, MOST_ERROR, MOST_RISE = 0.3, 0.5, 0.95, 1.2, 0.05
MENDS = {
    "ess": "a lower --weight-maximum",
    "correlation": "--advantage-start None with --trajectory-eta 3, or a higher --value-samples",
    "order": "--advantage-start None with --trajectory-eta 3, or a later --advantage-start",
    "draws": "a lower --trajectory-eta",
    "map": "lower --last-nodes",
    "heart": "fewer --steps, a smaller --width or, of gtp, --weight-decay 0.1",
}
"""What mends each fault; `draws` is that of `order` where no weights act."""

_ESS, _CORRELATION = "weight_ess", "weight_correlation"
_QUARTILES = tuple(f"weight_quartile_{i}" for i in range(1, 5))
_WEIGHTS = (_ESS, _CORRELATION, *_QUARTILES)
_ACTIONS = ("map_error", "euler_error", "map_std", "action_std_one_jump", "action_std_k_steps")
_HELD_OUT, _TRAINED = "held_out_error", "trained_error"


def read(path: Path) -> Columns:
    """Return the columns of a metrics.csv, of its rows with figures of health.

    Empty without such rows, or without the file.
    """
    return rows(metrics.read(path)) if path.exists() else {}


def rows(columns: Mapping[str, NDArray[np.float64]]) -> Columns:
    """Return those rows of a table of metrics that have figures of health; empty without any."""
    held = [~np.isnan(columns[name]) for name in (*_WEIGHTS, *_ACTIONS) if name in columns]
    if not np.any(held):
        return {}
    return {name: column[np.any(held, 0)] for name, column in columns.items()}


def last(columns: Columns) -> Figures:
    """Return the last figures, each the mean over the seeds that have it."""
    return _means(columns, columns["step"] == columns["step"].max()) if columns else {}


def sentences(columns: Columns, steps: int, act_by: str | None) -> dict[str, str]:
    """Return what is wrong with a run of that many updates: `guidance`, `map`, `heart`.

    A map that lags is a fault only where it acts.
    """
    if not columns:
        return {}
    figures = _means(columns, 2 * columns["step"] >= steps)
    found = {}
    if faults := _faults(figures):
        found["guidance"] = f"Value guidance is mostly noise: {'; '.join(faults)}."
    both = {"map_error", "euler_error"} <= figures.keys()
    if both and act_by == "map" and figures["map_error"] > MOST_ERROR * figures["euler_error"]:
        found["map"] = (
            f"The K-step map lags behind its flow: the error of its mean action is "
            f"{figures['map_error']:.3g}, more than {MOST_ERROR:g} times the "
            f"{figures['euler_error']:.3g} of Euler steps ({MENDS['map']} may mend it, and "
            "--act-by euler acts by them)."
        )
    if risen := _by_heart(columns):
        found["heart"] = risen
    return found


def _by_heart(columns: Columns) -> str:
    """Say that the error on episodes held out alone has risen; else empty."""
    if not {_HELD_OUT, _TRAINED} <= columns.keys():
        return ""
    steps = np.unique(columns["step"][~np.isnan(columns[_HELD_OUT])])
    if not steps.size:
        return ""
    means, known = (
        [float(np.nanmean(columns[name][columns["step"] == step])) for step in steps]
        for name in (_HELD_OUT, _TRAINED)
    )
    least, last = int(np.argmin(means)), means[-1]
    both = max(0.0, known[-1] - known[least])
    if last - means[least] <= both + MOST_RISE * means[least]:
        return ""
    return (
        f"The policy learns the data by heart: on episodes held out the error of its mean action "
        f"was {means[least]:.3g} after {steps[least]:,.0f} updates and is {last:.3g} after "
        f"{steps[-1]:,.0f} ({MENDS['heart']} may mend it)."
    )


def of_run(columns: Columns, config: Mapping[str, Any]) -> dict[str, str]:
    """Return `sentences` of a run, from the settings in its folder."""
    act_by = config["agent_settings"].get("act_by", "map")
    return sentences(columns, config["steps"], act_by)


def report(run: Run) -> list[str]:
    """Return a run's last figures in one line, and its warnings; empty without figures."""
    columns = read(run.metrics)
    if not columns:
        return []
    warnings = of_run(columns, run.config()).values()
    said = describe(last(columns))
    return [*([f"{run}: {said}"] if said else []), *(f"  {sentence}" for sentence in warnings)]


def _faults(figures: Figures) -> list[str]:
    faults = []
    if figures.get(_ESS, 1.0) < LEAST_ESS:
        faults.append(
            f"the effective sample size of the weights is {figures[_ESS]:.2f} of the rows, below "
            f"{LEAST_ESS:g} ({MENDS['ess']} may mend it)"
        )
    if figures.get(_CORRELATION, 1.0) < LEAST_CORRELATION:
        faults.append(
            f"two draws of the weights correlate by {figures[_CORRELATION]:.2f}, below "
            f"{LEAST_CORRELATION:g} ({MENDS['correlation']} may mend it)"
        )
    quartiles = [figures[name] for name in _QUARTILES if name in figures]
    if quartiles and quartiles[-1] < LEAST_ORDER * quartiles[0]:
        mend = MENDS["order" if _ESS in figures else "draws"]
        faults.append(
            f"the best episodes have the mean weight {quartiles[-1]:.2f}, the worst "
            f"{quartiles[0]:.2f} ({mend} may mend it)"
        )
    return faults


def shown(figures: Figures) -> dict[str, str]:
    """Return what the progress line shows: nothing of a run without advantage weights."""
    names = {"ess": _ESS, "r": _CORRELATION}
    return {key: f"{figures[name]:.2f}" for key, name in names.items() if name in figures}


def describe(figures: Figures) -> str:
    """Say the figures in one line; empty where there are none."""
    parts = [f"{key} {value}" for key, value in shown(figures).items()]
    quartiles = [f"{figures[name]:.2f}" for name in _QUARTILES if name in figures]
    if quartiles:
        parts.append(f"w by quartile of score {' '.join(quartiles)}")
    if {"map_error", "euler_error"} <= figures.keys():
        parts.append(
            f"error of the mean action {figures['map_error']:.3g} by the map, "
            f"{figures['euler_error']:.3g} by Euler"
        )
    deviations = {"map_std": "K steps", "action_std_one_jump": "one jump"}
    spread = [f"{figures[n]:.3g} by {word}" for n, word in deviations.items() if n in figures]
    return ", ".join([*parts, *([f"deviation {', '.join(spread)}"] if spread else [])])


def _means(columns: Columns, at: NDArray[np.bool_]) -> Figures:
    weighted = at & (columns[_ESS] < 1.0) if _ESS in columns else at
    quartiles = [columns[name] for name in _QUARTILES if name in columns]
    # fmax and fmin pass over nan: quartiles without a row.
    ordered = weighted | (
        at & (np.fmax.reduce(quartiles) > np.fmin.reduce(quartiles)) if quartiles else weighted
    )
    rows = dict.fromkeys(_WEIGHTS, weighted) | dict.fromkeys(_QUARTILES, ordered)
    found = {}
    for name in (*_WEIGHTS, *_ACTIONS, _TRAINED, _HELD_OUT):
        values = columns[name][rows.get(name, at)] if name in columns else np.empty(0)
        if not np.isnan(values).all():
            found[name] = float(np.nanmean(values))
    return found
