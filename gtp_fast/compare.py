"""python -m gtp_fast.compare: scores and costs of agents on one task under one protocol."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gtp_fast import agents, cli, tasks
from gtp_fast.errors import UserError, at_least
from gtp_fast.studies import comparison, tables
from gtp_fast.studies.costs import PUBLISHED_UPDATES
from gtp_fast.studies.group import CLONE
from gtp_fast.studies.protocol import Protocol, Study
from gtp_fast.training import start
from gtp_fast.training.divergence import AllDiverged


@dataclass(frozen=True)
class Options:
    """What is compared, and how."""

    task: str = ""
    """Task, such as hopper-medium-expert."""
    agents: tuple[str, ...] = ("all",)
    """Names of agents, or all; and gtp-clone: gtp with --eta 0, without value guidance."""
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
    """Decay every agent's learning rates to zero along a cosine, as short runs need; by default as
    each agent has it.
    """
    num_candidates: int | None = None
    """Candidates among which every agent with a critic and noise chooses when it acts; by default
    as each one's authors evaluate.
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
    """Compare as the command line says; return 1 where an agent has no scores, else 0."""
    options = cli.parse(Options, argv, "python -m gtp_fast.compare", __doc__)
    if not options.task:
        raise UserError("Say which task to compare on: --task hopper-medium-expert, for example.")
    at_least(
        1, rounds=options.rounds, num_candidates=options.num_candidates, collect=options.collect
    )
    at_least(0, timed_updates=options.timed_updates)
    chosen, task = chosen_agents(options.agents), tasks.find(options.task)
    shared = protocol(options)
    if options.collect is not None:
        shared = dataclasses.replace(shared, dataset=start.collected(task, options.collect))
    study = Study(Path(options.output) / f"compare-{task.name}" / "agents.json", shared)
    changes = {name: changes_of(name, study.protocol, options) for name in chosen}
    for name in chosen:
        study.check(name, comparison.agent_of(name), changes[name])
        if options.num_candidates is not None and "num_candidates" not in changes[name]:
            print(
                f"note: --num-candidates is left out for {name}, which has no critic to choose by "
                "or no noise to make them differ.",
                file=sys.stderr,
            )
    about: dict[str, Any] = {
        "rounds": options.rounds, "timed_updates": options.timed_updates,
        "common": common(options),
    }  # fmt: skip
    diverged: dict[str, str] = {}
    for number, name in enumerate(chosen, start=1):
        print(f"--- {name} ({number} of {len(chosen)})", flush=True)
        try:
            if code := study.train(name, comparison.agent_of(name), changes[name]):
                return code
        except AllDiverged as error:
            diverged[name] = f"no scores of {name}: {error}"
        comparison.write(study, chosen, {}, about)
    costs = {}
    if options.timed_updates:
        long = dataclasses.replace(study.protocol, steps=PUBLISHED_UPDATES)
        # A width may follow from the size of the data, or be that of an older version's run.
        given = {
            name: changes_of(name, long, options) | {"width": study.width(name)} for name in chosen
        }
        costs = comparison.costs(long, given, about)
    print()
    lacking = study.unfinished(name for name in chosen if name not in diverged)
    lacking += diverged.values()
    if not lacking and not any(map(study.scored, chosen)):
        print("no scores: the dataset brings no environment to evaluate in\n")
    for table in comparison.write(study, chosen, costs, about):
        print(table + "\n")
    folder = study.path.parent
    made = ["scores.md"] * any(map(study.scored, chosen)) + ["costs.md"] * bool(costs)
    named = f"{', '.join(made)}, and the same in .csv; " if made else ""
    print(f"tables: {folder}/{named}comparison.json")
    for sentence in lacking:
        print(sentence, file=sys.stderr)
    return 1 if lacking else 0


def protocol(options: Options) -> Protocol:
    """Return what all agents have in common."""
    fields = [field.name for field in dataclasses.fields(Protocol)]
    return Protocol(**{name: getattr(options, name) for name in fields})


def chosen_agents(names: Sequence[str]) -> list[str]:
    """Return the agents' labels, gtp first; UserError for none and for an unknown one."""
    if not names:
        raise UserError("--agents needs a name: all, or gtp and bc, for example.")
    every = agents.REGISTRY if "all" in names else ()
    wanted = list(dict.fromkeys([*every, *(name for name in names if name != "all")]))
    for name in wanted:
        agents.find(comparison.agent_of(name), (CLONE,))
    return sorted(wanted, key=lambda name: (name != tables.OURS, name != CLONE, name))


def changes_of(name: str, protocol: Protocol, options: Options) -> dict[str, Any]:
    """Return what the command line changes of an agent's settings."""
    given = common(options) | ({"eta": (0.0,)} if name == CLONE else {})
    _, config = protocol.settings(comparison.agent_of(name), {})
    learns_q = name != CLONE and getattr(config, "advantage_start", 0) is not None
    if options.num_candidates is not None and learns_q and config.candidates_differ:
        given["num_candidates"] = options.num_candidates
    if "learning_rate" in given:
        rate = (given["learning_rate"],)
        given |= {"learning_rate": rate, "critic_learning_rate": rate}
    return given


def common(options: Options) -> dict[str, Any]:
    """Return the settings that the command line gives to all agents alike."""
    given = {"width": options.width, "learning_rate": options.learning_rate}
    decay = {"cosine_decay": True} if options.cosine_decay else {}
    return {name: value for name, value in given.items() if value is not None} | decay


if __name__ == "__main__":
    sys.exit(cli.run(main))
