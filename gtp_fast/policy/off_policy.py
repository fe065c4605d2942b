"""A trained run judged by its dataset alone: fitted Q evaluation, energy score, coverage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gtp_fast import data, engine, reference, tasks
from gtp_fast.agents.fqe import FQE, FQEConfig
from gtp_fast.data import hold_out
from gtp_fast.errors import UserError
from gtp_fast.policy import evaluation, results
from gtp_fast.policy.evaluation import Options, Subject
from gtp_fast.policy.restore import table_of
from gtp_fast.reference.philox import Stream
from gtp_fast.system import progress

HELD_OUT = 0.1
"""Share of the episodes for energy score and coverage, where a run has held none out."""
STATES = 4096
"""The most states of them, spread evenly."""
ACTIONS = 16
"""Actions of the policy in each state."""
RADIUS = 0.1
"""Distance within which an action is covered: root mean square, in the box [-1, 1]."""
# Keys of its own, apart from those of training and of evaluation in the environment.
_KEYS = 1 << 63
_CHUNK = 128


def evaluate(options: Options, *tables: data.TransitionTable, arrays: Any = None) -> dict[str, Any]:
    """Return the protocol and the figures of an evaluation; UserError for a bad option.

    tables: what the run trained on, then what it held out if anything, with raw observations; none
    loads them as its configuration says. arrays: the run's data, where it took them from memory.
    """
    if options.fqe_steps < 1:
        raise UserError(f"--fqe-steps {options.fqe_steps} is too few: give at least 1.")
    subject = evaluation.subject(options)
    share = hold_out.share_of(subject.saved.config)
    if not tables:
        # The policy reads observations as the environment gives them, standardised or not.
        raw = subject.saved.config | {"observation_mean": ()}
        given = options.dataset if arrays is None else arrays
        tables = hold_out.split(table_of(raw, given, subject.agent.device), share)
    table, *held = tables
    (judged,) = held or [hold_out.held_out(table, HELD_OUT)]
    fqe, own_return = critics(subject, table, options.seed)
    loss = fit(fqe, table, options.fqe_steps, options.backend)
    likeness, states = likeness_in(fqe, judged)
    return evaluation.protocol(options, subject) | {
        "fqe_steps": options.fqe_steps,
        "fqe_settings": fqe.settings,
        "fqe_diverged": [None if step < 0 else step for step in fqe.diverged.tolist()],
        "held_out": {
            "share": share or HELD_OUT,
            "states": states,
            "seen_in_training": not share,
        },
        "actions": ACTIONS,
        "radius": RADIUS,
        "means": {
            "fqe_value": initial_value(fqe, table),
            "data_return": [own_return] * len(fqe.seeds),
            "fqe_error": [value**0.5 for value in loss],
            **likeness,
        },
    }


def critics(subject: Subject, table: data.TransitionTable, seed: int) -> tuple[FQE, float]:
    """Return the untrained critics of a run's policies, and the data's own discounted return.

    That return is the mean over episodes, from their first state on, of `reference.return_to_go`.
    """
    agent, acting = subject.agent, subject.acting
    discount = getattr(agent.config, "discount", tasks.of_run(subject.saved.config).discount)
    config = FQEConfig(width=agent.config.width, depth=agent.config.depth, discount=discount)
    keys = tuple(_KEYS + (seed << 32) + one for one in agent.seeds)
    setup = replace(agent.setup, seeds=keys, all_seeds=keys)
    batch = table.all()
    returns = reference.return_to_go(batch.reward, batch.mask, table.episode, discount)
    shift, scale = float(returns.mean()), float(returns.std(correction=0))
    fqe = FQE(config, setup, acting.sampler, shift, scale or 1.0)
    return fqe, float(returns[table.first_rows()].mean())


def fit(fqe: FQE, table: data.TransitionTable, steps: int, backend: str = "auto") -> list[float]:
    """Train the critics; return the loss of each seed, the mean of the last tenth."""
    watch, losses = engine.Watch(fqe), [0.0] * len(fqe.seeds)
    choice = engine.choose("auto", backend, fqe.device)
    tenth = -(-steps // 10)
    fqe.prepare(steps)
    with (
        progress.bar(steps, "update") as bar,
        closing(engine.build(choice, fqe, table, watch)) as built,
    ):

        def after(done: int) -> None:
            bar.update(done - bar.n)
            if done % tenth == 0 or done == steps:
                losses[:] = watch.means()["td_loss"]

        engine.run(built, fqe, 0, steps, (tenth,), after, lambda: 0)
    return losses


def initial_value(fqe: FQE, table: data.TransitionTable) -> list[float]:
    """Return V of each seed's policy, the mean over the first states of all episodes."""
    states = table.episode_starts()
    parts = [
        len(some[0]) * reference.policy_value(fqe.values(some, actions)).double()
        for some, actions in _drawn(fqe, states)
    ]
    return (torch.stack(parts).sum(0) / len(states)).tolist()


def likeness_in(fqe: FQE, table: data.TransitionTable) -> tuple[dict[str, list[float]], int]:
    """Return energy score and coverage, one value a seed, and the number of their states."""
    every = -(-len(table) // STATES)
    rows = torch.arange(0, len(table), every, device=table.device)
    batch = table.gather(rows)
    observed = torch.split(batch.action.to(fqe.dtype), _CHUNK)
    scores, covered = [], []
    for (_, actions), seen in zip(_drawn(fqe, batch.observation), observed, strict=True):
        scores.append(reference.energy_score(actions, seen))
        covered.append(reference.covered(actions, seen, RADIUS))
    figures = {"energy_score": scores, "coverage": covered}
    means = {name: torch.cat(parts, 1).mean(1).tolist() for name, parts in figures.items()}
    return means, len(rows)


def _drawn(fqe: FQE, states: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a few of the states [S, n, O] and the policies' actions in them [S, ACTIONS, n, A]."""
    for number, some in enumerate(torch.split(states.to(fqe.dtype), _CHUNK)):
        repeated = some.expand(len(fqe.seeds), -1, -1)
        yield repeated, fqe.actions(repeated, ACTIONS, Stream.ACT, number)


def table(record: Mapping[str, Any]) -> str:
    """Return the result as text, with its protocol."""
    means, held_out = record["means"], record["held_out"]
    columns = {
        "FQE value": (means["fqe_value"], 2),
        "data's return": (means["data_return"], 2),
        "Bellman error": (means["fqe_error"], 3),
        "energy score": (means["energy_score"], 4),
        "coverage": (means["coverage"], 3),
    }
    settings = record["fqe_settings"]
    seen = "seen them too" if held_out["seen_in_training"] else "not seen them"
    lines = [
        *results.heading(record, "without an environment", "with figures that are nan"),
        f"fitted Q evaluation: {record['fqe_steps']:,} updates, width {settings['width']}, "
        f"evaluation seed {record['evaluation_seed']}",
        "",
        *results.grid(record["seeds"], columns),
        "",
        f"FQE value, data's return: discounted by {settings['discount']:g}, from the first states "
        "of the data's episodes, in the rewards of training; a time limit ends neither",
        f"energy score (lower is better), coverage (share of states with one of "
        f"{record['actions']} actions within {record['radius']:g} of the data's):",
        f"in {held_out['states']:,} states of the {100 * held_out['share']:.3g}% of episodes held "
        f"out by their number; training has {seen}",
    ]
    lines += [
        f"FQE of seed {seed} diverged at update {step:,}: its value means nothing"
        for seed, step in zip(record["seeds"], record["fqe_diverged"], strict=True)
        if step is not None
    ]
    return "\n".join(lines)


def write(record: Mapping[str, Any]) -> Path:
    """Write the result into RUN/evaluations/; return the file, named by its protocol."""
    name = f"fqe-{results.acting_name(record)}-{record['fqe_steps']}updates"
    return results.store(record, name)
