"""python -m gtp_fast.compare: train and evaluate agents on one task under one protocol, and write
the table of scores and the table of costs.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gtp_fast import agents, cli, data, engine, report, runs, tasks, train
from gtp_fast.errors import UserError
from gtp_fast.runs import Run, checkpoint, plain
from gtp_fast.studies import costs as timing  # fmt: skip
from gtp_fast.studies import published, tables
from gtp_fast.system.files import write_atomically
from gtp_fast.training.config import RunConfig

_KEPT = "agents.json"


@dataclass(frozen=True)
class Options:
    """What is compared, and how."""

    task: str = ""
    """Task, such as hopper-medium-expert."""
    agents: tuple[str, ...] = ("all",)
    """Names of agents, or all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of every agent, trained together."""
    dataset: str | None = None
    """Minari id, D4RL .hdf5 file or .npz file; by default the task's own Minari dataset."""
    collect: int | None = None
    """Make the dataset locally first, with this many transitions."""
    steps: int | None = None
    """Updates of every agent; by default those of each one's authors."""
    episodes: int | None = None
    """Evaluation episodes for each seed; by default 10 for locomotion and 100 for mazes."""
    width: int | None = None
    """Units of each hidden layer of every agent; by default each agent's own."""
    learning_rate: float | None = None
    """Adam's rate for the actor and the critic of every agent; by default each agent's own."""
    cosine_decay: bool = False
    """Let every agent's learning rates fall to zero along a cosine, as short runs need; by default
    as each agent has it.
    """
    num_candidates: int | None = None
    """Candidates among which every agent with a critic chooses when it acts; by default as each
    one's authors evaluate.
    """
    timed_updates: int = 200
    """Updates of each round of the measurement of costs; 0 leaves the costs out."""
    rounds: int = 5
    """Rounds of that measurement."""
    device: str = "auto"
    """auto, cpu or cuda."""
    engine: str = "auto"
    """auto, eager, compiled, captured or fused, for every agent."""
    backend: str = "auto"
    """auto, reference, compiled or fused."""
    output: str = "runs"
    """Folder in which compare-TASK is made; agents that are finished in it are not trained again.
    """


def main(argv: Sequence[str]) -> int:
    """Compare as the command line says; return the exit code."""
    options = cli.parse(Options, argv, "python -m gtp_fast.compare", __doc__)
    if not options.task:
        raise UserError("Say which task to compare on: --task hopper-medium-expert, for example.")
    chosen = _chosen(options.agents)
    folder = Path(options.output) / f"compare-{tasks.find(options.task).name}"
    if options.collect is not None:
        task = tasks.find(options.task)
        made = train.collected(task, RunConfig(task=task.name, collect=options.collect))
        options = dataclasses.replace(options, dataset=made, collect=None)
    for number, name in enumerate(chosen, start=1):
        print(f"--- {name} ({number} of {len(chosen)})", flush=True)
        if code := _train(name, options, folder):
            return code
        _write(folder, chosen, {}, options)
    costs = _costs(chosen, options, folder) if options.timed_updates else {}
    print()
    if not any(runs.open_run(kept["run"]).summary() for kept in _kept(folder).values()):
        print("no scores: the dataset brings no environment to evaluate in\n")
    for table in _write(folder, chosen, costs, options):
        print(table + "\n")
    print(f"tables: {folder}/scores.md, costs.md, and the same in .csv; comparison.json")
    return 0


def _chosen(names: Sequence[str]) -> list[str]:
    """Return the agents by name, gtp first."""
    wanted = list(agents.REGISTRY) if "all" in names else list(dict.fromkeys(names))
    for name in wanted:
        agents.find(name)
    return sorted(wanted, key=lambda name: (name != tables.OURS, name))


def _settings(name: str, options: Options) -> tuple[tasks.Task, Any]:
    """Return task and Config of an agent with what the command line changes of them."""
    task, config = agents.defaults(name, tasks.find(options.task), options.steps)
    fields = {field.name for field in dataclasses.fields(config)}
    given = _common(options)
    learns_q = getattr(config, "advantage_start", 0) is not None
    if options.num_candidates is not None and learns_q:
        given["num_candidates"] = options.num_candidates
    if "learning_rate" in given:
        rate = (given["learning_rate"],)
        given |= {"learning_rate": rate, "critic_learning_rate": rate}
    return task, dataclasses.replace(config, **{k: v for k, v in given.items() if k in fields})


def _common(options: Options) -> dict[str, Any]:
    """Return the settings that the command line gives to all agents alike."""
    given = {name: getattr(options, name) for name in ("width", "learning_rate", "cosine_decay")}
    return {name: value for name, value in given.items() if value}


def _train(name: str, options: Options, folder: Path) -> int:
    """Train an agent to its end unless that has been done; go on with a run that was stopped."""
    task, config = _settings(name, options)
    protocol = plain({
        "seeds": options.seeds, "steps": options.steps or task.updates, "dataset": options.dataset,
        "episodes": options.episodes or task.evaluation_episodes,
        "settings": dataclasses.asdict(config),
    })  # fmt: skip
    kept = _kept(folder)
    resume = None
    if name in kept:
        if kept[name]["protocol"] != protocol:
            raise UserError(
                f"{folder} holds {name} under other options: repeat those, or choose another "
                "--output."
            )
        run = runs.open_run(kept[name]["run"])
        if _finished(run):
            print(f"done before: {run}")
            return 0
        resume = str(run) if checkpoint.last(run) else None
    run_config = RunConfig(
        task=task.name, agent=name, dataset=options.dataset, seeds=options.seeds,
        steps=options.steps, episodes=options.episodes, evaluate_every=0, resume=resume,
        device=options.device, engine=options.engine,
        backend=options.backend, output=str(folder),
    )  # fmt: skip
    if resume:
        trainer = train.resume(run_config)
    else:
        trainer = train.start(run_config, task, task.rules, config)
    kept[name] = {"run": str(trainer.run), "protocol": protocol}
    write_atomically(folder / _KEPT, json.dumps(kept, indent=1) + "\n")
    return trainer.train()


def _kept(folder: Path) -> dict[str, Any]:
    """Return what earlier calls have begun: agent -> run and protocol."""
    path = folder / _KEPT
    if not path.exists():
        return {}
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: delete it to begin anew.") from error
    return kept


def _finished(run: Run) -> bool:
    last, config = checkpoint.last(run), run.config()
    if last is None or checkpoint.load(last).step < config["steps"]:
        return False
    return config["evaluation"]["environment"] is None or bool(run.summary())


def _write(
    folder: Path, chosen: Sequence[str], costs: dict[str, Any], options: Options
) -> list[str]:
    """Write the tables of all finished agents; return them as Markdown."""
    found: dict[str, Any] = {}
    about: dict[str, Any] = {
        "machine": _machine(options), "rounds": options.rounds,
        "timed_updates": options.timed_updates, "published_source": published.SOURCE,
        "common": _common(options),
    }  # fmt: skip
    kept = _kept(folder)
    for name in chosen:
        run = runs.open_run(kept[name]["run"]) if name in kept else None
        if run is None or not _finished(run) or not run.evaluations.exists():
            continue
        (group,), summary, config = report.collect([str(run)]), run.summary(), run.config()
        task, facts = tasks.find(config["task"]), summary["data"]
        is_published = published.is_published(
            task, summary["dataset"], facts["description"], facts["transitions"]
        )
        about |= {
            "task": task.name, "dataset": summary["dataset"], "environment": summary["environment"],
            "transitions": facts["transitions"], "official": summary["official_dataset"],
        }  # fmt: skip
        found[name] = {
            "run": str(run), "scores": group.values(group.steps()[-1]).tolist(),
            "seeds": sorted(group.seeds), "episodes": config["episodes"],
            "updates": summary["updates"], "k": summary["k"],
            "num_candidates": summary["num_candidates"],
            "published": published.score(task.name, name) if is_published else None,
        }  # fmt: skip
    return tables.write(folder, found, costs, about)


def _machine(options: Options) -> str:
    facts = machine.environment()
    device = train.choose_device(options.device)
    return str(facts["gpu"] if device.type == "cuda" else facts["processor"])


def _costs(chosen: Sequence[str], options: Options, folder: Path) -> dict[str, Any]:
    """Measure all agents in turns, on one table, whose rewards do not matter to the time."""
    print("--- costs", flush=True)
    task = tasks.find(options.task)
    device = train.choose_device(options.device)
    choice = engine.choose(options.engine, options.backend, device)
    table = data.load_table(task, options.dataset, None, device)
    # The costs are those of a run of the published length, whose defaults may be others.
    published = dataclasses.replace(options, steps=timing.PUBLISHED_UPDATES)
    built = {
        name: agents.build(
            name, _settings(name, published)[1], table.observation_dim, table.action_dim,
            options.seeds[:1], device, choice.backend,
        )
        for name in chosen
    }  # fmt: skip
    return timing.measure(built, table, choice, options.timed_updates, options.rounds)


if __name__ == "__main__":
    sys.exit(cli.run(main))
