"""What a run says of itself: what it trains at its beginning, what came of it at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.runs import guidance

if TYPE_CHECKING:
    from gtp_fast.training.trainer import Trainer


def announce(trainer: Trainer) -> None:
    """Print what is trained, on what, and how."""
    table, agent = trainer.table, trainer.agent
    print(
        f"dataset     {table.dataset_id}: {len(table):,} transitions of "
        f"{table.statistics.episodes:,} episodes"
    )
    if not table.provenance.official:
        print("            made locally, not Minari's: never put its scores beside published ones")
    print(
        f"agent       {trainer.settings['agent']}, seeds {' '.join(map(str, agent.seeds))}, on "
        f"{agent.device}"
    )
    sources = dict.fromkeys(trainer.settings.get("setting_sources", {}).values())
    print(f"defaults    {'; '.join(sources) or 'the same on every task'}")
    if trainer.table.lots is not None:
        print(
            "batches     better episodes have a larger share; of the rows "
            f"{100 * _effective_rows(trainer.table.lots):.0f} % are effective"
        )
    print(f"engine      {trainer.chosen.describe()}")
    print(f"operations  {agent.ops.describe()}")
    if trainer.chosen.spread.count > 1:
        print(f"processes   {trainer.chosen.spread.describe()}")
    elif agent.device.type == "cpu":
        print(f"threads     {_threads(trainer)}")
    if trainer.evaluator is None:
        print(
            "evaluation  none: the dataset brings no environment; watch the losses, or "
            "evaluate the policy yourself"
        )
    print(f"run folder  {trainer.run.path}", flush=True)


def summarise(trainer: Trainer, done: int, seconds: float) -> None:
    """Write summary.json and print the result with everything that its reading depends on."""
    if trainer.last is None or trainer.evaluator is None:
        return
    means, settings = trainer.last.means(), trainer.settings
    rate = (done - trainer.start) / seconds
    columns = guidance.read(trainer.run.metrics)
    summary = {
        "task": settings["task"],
        "dataset": trainer.table.dataset_id,
        "official_dataset": trainer.table.provenance.official,
        "data": {
            "description": trainer.table.provenance.description,
            "transitions": len(trainer.table),
        },
        "environment": trainer.evaluator.spec.id,
        "episodes_per_seed": settings["episodes"],
        "seeds": list(trainer.agent.seeds),
        "diverged": {str(one.seed): one.step for one in trainer.watch.diverged()},
        "updates": done,
        "checkpoint": "last",
        "weights": trainer.agent.acting_weights,
        "k": len(trainer.agent.folded().c_in),
        "num_candidates": settings["agent_settings"].get("num_candidates", 1),
        "candidate_rule": settings["agent_settings"].get("candidate_rule"),
        "noise_scale": trainer.agent.noise_scale,
        "effective_rows": 1.0
        if trainer.table.lots is None
        else _effective_rows(trainer.table.lots),
        "last": means,
        "health": guidance.last(columns),
        "warnings": list(guidance.sentences(columns, trainer.steps).values()),
        "best_mean_score": trainer.best,
        "data_return": trainer.table.statistics.mean_return,
        "data_success_rate": trainer.table.statistics.success_rate,
        "updates_per_second": rate,
        "engine": trainer.chosen.describe(),
        "processes": trainer.chosen.spread.count,
        "operations": trainer.agent.ops.describe(),
    }
    trainer.run.write_summary(summary)
    print(
        f"\n{settings['task']} on {trainer.table.dataset_id}: {settings['episodes']} episodes a "
        "seed in "
        f"{trainer.evaluator.spec.id}, last checkpoint (update {done:,}), K = {summary['k']}, "
        f"num_candidates = {summary['num_candidates']}, noise_scale = {summary['noise_scale']:g}"
    )
    for one in trainer.watch.diverged():
        print(f"  seed {one.seed} diverged at update {one.step:,} and stayed as it was before")
    for name, values in means.items():
        each = " ".join(f"{value:.3g}" for value in values)
        print(f"  {name:13s} {np.mean(values):8.3f} +- {np.std(values):.3f} over seeds ({each})")
    print(
        f"  updates/s     {rate:8.1f} (each advances all {len(trainer.agent.seeds)} seeds; "
        "evaluation left out)"
    )
    print(f"  run folder    {trainer.run.path}")


def _effective_rows(lots: Tensor) -> float:
    """Return the effective sample size of draws by lots, as a share of the rows."""
    return 1.0 / (len(lots) * float(reference.alias_shares(lots).square().sum()))


def _threads(trainer: Trainer) -> str:
    threads, reason = torch.get_num_threads(), trainer.chosen.spread.reason
    whole = 1 < threads <= len(trainer.agent.seeds)
    share = ", native calls give each of them whole seeds" if whole else ""
    return f"{threads}{share}" + (f"; one process: {reason}" if reason else "")
