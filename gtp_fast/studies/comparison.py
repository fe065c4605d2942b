"""Scores and costs of the agents of one study, written as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gtp_fast import agents, data, engine
from gtp_fast.studies import costs as measured
from gtp_fast.studies import published, tables
from gtp_fast.studies.group import CLONE
from gtp_fast.studies.protocol import Protocol, Study
from gtp_fast.system import machine
from gtp_fast.system.device import chosen_device


def agent_of(label: str) -> str:
    """Return the agent that a label of a comparison stands for."""
    return tables.OURS if label == CLONE else label


def costs(
    protocol: Protocol, changes: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the costs of all agents, measured in turns on one seed.

    protocol: of runs of the published length; its defaults may be others. changes: label -> what
    differs from its agent's defaults. about: `timed_updates` and `rounds`.
    """
    print("--- costs", flush=True)
    device = chosen_device(protocol.device)
    choice = engine.choose(protocol.engine, protocol.backend, device)
    task, _ = protocol.settings(tables.OURS, {})
    # Times do not depend on the rewards: one table serves all agents.
    table = data.load_table(task.name, protocol.dataset, None, device)
    shape = (table.observation_dim, table.action_dim, protocol.seeds[:1], device, choice.backend)
    built = {}
    for label, given in changes.items():
        _, config = protocol.settings(agent_of(label), given)
        built[label] = agents.build(agent_of(label), config, *shape)
    return measured.measure(built, table, choice, about["timed_updates"], about["rounds"])


def write(
    study: Study, names: Sequence[str], costs: Mapping[str, Any], about: Mapping[str, Any]
) -> list[str]:
    """Write the tables of all finished agents; return them as Markdown.

    about: what the tables are to be read with, besides the facts of the runs.
    """
    found: dict[str, Any] = {}
    on_gpu = chosen_device(study.protocol.device).type == "cuda"
    facts = machine.environment()
    about = {
        **about,
        "machine": str(facts["gpu" if on_gpu else "processor"]),
        "published_source": published.SOURCE,
        "by_episodes": study.protocol.settings(tables.OURS, {})[1].advantage_start is None,
    }
    for name in names:
        scored = study.scored(name)
        if scored is None:
            continue
        run, group = scored
        summary, task = run.summary(), group.task
        size, description = summary["data"]["transitions"], summary["data"]["description"]
        is_published = published.is_published(task, summary["dataset"], description, size)
        about |= {
            "task": task.name, "dataset": summary["dataset"], "environment": summary["environment"],
            "transitions": size, "official": summary["official_dataset"],
        }  # fmt: skip
        several = summary["num_candidates"] > 1
        found[name] = {
            "run": str(run), "scores": group.values(group.steps()[-1]).tolist(),
            "seeds": sorted(group.seeds), "episodes": group.episodes, "diverged": group.lost,
            "updates": summary["updates"], "k": summary["k"],
            "num_candidates": summary["num_candidates"],
            "candidate_rule": summary.get("candidate_rule") if several else None,
            "noise_scale": summary.get("noise_scale"),
            "act_by": summary.get("act_by"), "width": study.width(name),
            "published": published.score(task.name, name) if is_published else None,
        }  # fmt: skip
    return tables.write(study.path.parent, found, costs, about)
