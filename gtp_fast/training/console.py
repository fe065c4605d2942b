"""Output of a run: its facts before training, its scores and summary.json at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gtp_fast import reference, tasks
from gtp_fast.agents.base import Agent
from gtp_fast.data import TransitionTable
from gtp_fast.engine import Choice, Diverged
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.runs import Run, evaluations, guidance
from gtp_fast.system.numbers import many, mean_and_deviation
from gtp_fast.tasks import TRY, Task
from gtp_fast.training import sized


@dataclass(frozen=True)
class Facts:
    """What a run trains, on what, and how."""

    run: Run
    settings: dict[str, Any]
    """Configuration in the run folder."""
    agent: Agent
    table: TransitionTable
    engine: Choice
    environment: str | None
    """Id of the evaluation environment; None where the data bring none."""
    task: Task
    held_out: int = 0
    """Transitions that are not trained on."""


@dataclass(frozen=True)
class Outcome:
    """What a finished run reached."""

    last: Evaluation | None
    """Evaluation after the last update; None without an environment."""
    best: float
    """Highest mean score of all evaluations."""
    diverged: Sequence[Diverged]
    updates: int
    updates_per_second: float | None
    """Without the time of evaluations; None where the process made no update."""


def announce(facts: Facts) -> None:
    """Print what is trained, on what, and how."""
    table, agent, choice, settings = facts.table, facts.agent, facts.engine, facts.settings
    print(
        f"dataset     {table.dataset_id}: {many(len(table) + facts.held_out, 'transition')} of "
        f"{many(table.statistics.episodes, 'episode')}"
    )
    for note in announced(facts):
        print(f"            {note}")
    print(
        f"agent       {facts.settings['agent']}, seeds {' '.join(map(str, agent.seeds))}, on "
        f"{agent.device}"
    )
    sources = dict.fromkeys(facts.settings.get("setting_sources", {}).values())
    print(f"defaults    {'; '.join(sources) or 'the same on every task'}")
    if settings.get("setting_sources", {}).get("width") == sized.SOURCE:
        print(f"width       {sized.NARROW}, for fewer than {sized.FEW:,} transitions (or --width)")
    if table.lots is not None:
        print(
            "batches     better episodes have a larger share; of the rows "
            f"{100 * _effective_rows(table.lots):.0f} % are effective"
        )
    if facts.held_out:
        print(f"held out    {many(facts.held_out, 'transition')}, which are not trained on")
    print(f"engine      {choice.of(agent.ops, agent.device).describe()}")
    print(f"operations  {agent.ops.describe()}")
    if choice.sharing.count > 1:
        print(f"processes   {choice.sharing.describe()}")
    elif agent.device.type == "cpu":
        print(f"threads     {_threads(choice.sharing.reason, len(agent.seeds))}")
    if facts.environment is None:
        print(
            f"evaluation  none ({facts.settings['evaluation'].get('reason') or 'no environment'}); "
            f"{_by_data(settings)} judges by the data"
        )
    elif settings["episodes"] < facts.task.evaluation_episodes:
        print(f"evaluation  {_fewer(settings, facts.task)}")
    print(f"run folder  {facts.run.path}", flush=True)


def _by_data(settings: Mapping[str, Any]) -> str:
    """Return the call that judges a run by its data."""
    in_memory = settings["dataset"] is None
    return "`gtp_fast.TrainedRun(RUN).fqe(data)`" if in_memory else "`gtp_fast evaluate RUN --fqe`"


def announced(facts: Facts) -> list[str]:
    """Return what must be known of the data: origin, assumptions, changes by the task."""
    table, task, dataset = facts.table, facts.task, facts.settings["dataset"]
    notes = []
    if task.is_preset and not table.provenance.official:
        notes.append("made locally, not Minari's: do not compare its scores to published ones")
    notes += table.notes
    rules = table.rules
    changes = [f"reward {rules.reward}"] * (rules.reward != "none")
    changes += [f"goal {rules.goal}"] * (rules.goal != "none")
    changes += ["cut at the goal"] * rules.cut_at_goal
    if changes and dataset not in [one for ids in task.datasets for one in ids]:
        who = f"{task.name} changes these data" if task.is_preset else "changed as asked"
        notes.append(f"{who}: {', '.join(changes)}")
    owner = None if task.is_preset else tasks.owner(str(dataset))
    if owner is not None:
        notes.append(f"taken as stored; --task {owner.name} adds its rules and reference returns")
    return notes


def _fewer(settings: Mapping[str, Any], task: Task) -> str:
    """Return why an evaluation has fewer episodes than the protocol."""
    episodes, whole = many(settings["episodes"], "episode"), task.evaluation_episodes
    if settings["episodes"] != task.episodes(settings["steps"]):
        return f"{episodes} as asked; the protocol has {whole}"
    return (
        f"{episodes}, as less than {TRY:,} updates are a try; --episodes {whole} for the protocol"
    )


def summarise(facts: Facts, outcome: Outcome) -> None:
    """Write summary.json, and print the scores with all that they must be read with.

    outcome: with an evaluation.
    """
    content = summary(facts, outcome)
    facts.run.write_summary(content)
    means, count = content["last"], len(facts.agent.seeds)
    print(
        f"\n{content['task']} on {content['dataset']}: "
        f"{many(content['episodes_per_seed'], 'episode')} a seed in {facts.environment}, "
        f"last checkpoint (update {outcome.updates:,}), K = {content['k']}, "
        f"num_candidates = {content['num_candidates']}, noise_scale = {content['noise_scale']:g}"
        + (", act_by = euler" if content["act_by"] == "euler" else "")
    )
    for one in outcome.diverged:
        print(f"  seed {one.seed} diverged at update {one.step:,} and stayed as it was before")
    for name, values in means.items():
        each = " ".join(f"{value:.3g}" for value in values)
        spread = f" standard deviation over {many(count, 'seed')} ({each})" * (count > 1)
        print(f"  {name:13s} {mean_and_deviation(values, 3, 8)}{spread}")
    if outcome.updates_per_second is not None:
        print(
            f"  updates/s     {outcome.updates_per_second:8.1f} (each advances "
            f"{many(count, 'seed')}; evaluation left out)"
        )
    print(f"  run folder    {facts.run.path}")


def summary(facts: Facts, outcome: Outcome) -> dict[str, Any]:
    """Return the content of summary.json."""
    settings, agent, table = facts.settings, facts.agent, facts.table
    columns = guidance.read(facts.run.metrics)
    return {
        "task": settings["task"],
        "dataset": table.dataset_id,
        "official_dataset": table.provenance.official,
        "data": {
            "description": table.provenance.description,
            "transitions": len(table) + facts.held_out,
        },
        "environment": facts.environment,
        "episodes_per_seed": 0 if outcome.last is None else outcome.last.returns.shape[1],
        "seeds": list(agent.seeds),
        "diverged": {str(one.seed): one.step for one in outcome.diverged},
        "updates": outcome.updates,
        "checkpoint": "last",
        "weights": agent.acting_weights,
        "k": agent.folded().k,
        "num_candidates": settings["agent_settings"].get("num_candidates", 1),
        "candidate_rule": settings["agent_settings"].get("candidate_rule"),
        "noise_scale": agent.noise_scale,
        "act_by": agent.act_by,
        "effective_rows": 1.0 if table.lots is None else _effective_rows(table.lots),
        "last": {} if outcome.last is None else outcome.last.means(),
        "mean_of_last_three": _last_three(facts),
        "health": guidance.last(columns),
        "warnings": list(guidance.of_run(columns, settings).values()),
        "best_mean_score": outcome.best if np.isfinite(outcome.best) else None,
        "data_return": table.statistics.mean_return,
        "data_success_rate": table.statistics.success_rate,
        "updates_per_second": outcome.updates_per_second,
        "engine": facts.engine.of(agent.ops, agent.device).describe(),
        "processes": facts.engine.sharing.count,
        "operations": agent.ops.describe(),
    }


def _last_three(facts: Facts) -> list[float] | None:
    """Return each seed's mean success of the last three evaluations, if there are three."""
    if not facts.run.evaluations.exists():
        return None
    rows = evaluations.read(facts.run.evaluations)
    means = evaluations.mean_of_last_three(rows, "success")
    return None if means is None or np.isnan(means).any() else means.tolist()


def _effective_rows(lots: Tensor) -> float:
    """Return the effective sample size of draws by lots, as a share of the rows."""
    return 1.0 / (len(lots) * float(reference.alias_shares(lots).square().sum()))


def _threads(reason: str, seeds: int) -> str:
    threads = torch.get_num_threads()
    share = ", native calls give each of them whole seeds" if 1 < threads <= seeds else ""
    return f"{threads}{share}" + (f"; one process: {reason}" if reason else "")
