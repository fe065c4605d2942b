"""docs/results.md, results.json and results.png, as a function of the records of runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import evidence_guidance, evidence_plot
from benchmarks.evidence_runs import Campaign, Record
from benchmarks.evidence_tables import (
    OURS,
    Row,
    common_tasks,
    order_of,
    rows,
    score_table,
    sum_table,
)
from gtp_fast.studies.group import CLONE
from gtp_fast.system.files import write_atomically

_ALIKE = ("settings", "rules", "precision", "dataset", "transitions", "episodes")
"""What all seeds of one cell must have in common."""


def write(records: Sequence[Record], campaign: Campaign, output: Path) -> list[Path]:
    """Write page, records and picture into a folder; return the files."""
    output.mkdir(parents=True, exist_ok=True)
    files = [output / f"results.{ending}" for ending in ("json", "md", "png")]
    table = rows(records, campaign)
    compared = [row for pair in evidence_guidance.pairs(table) for row in pair]
    alike = [row for row in compared if row.first["steps"] == campaign.steps]
    shown = [row for row in table if row.main or row in alike]
    curves = [(row.name, row.runs) for row in shown]
    write_atomically(files[0], _json(records, campaign))
    write_atomically(files[1], page(records, campaign) + "\n")
    evidence_plot.draw(curves, order_of(table, campaign), files[2])
    return files


def page(records: Sequence[Record], campaign: Campaign) -> str:
    """Return the whole page as Markdown."""
    table = rows(records, campaign)
    order = order_of(table, campaign)
    common = common_tasks(table, order)
    return "\n\n".join([
        "# What value guidance is worth",
        "`python -m benchmarks.evidence` writes this page, `results.json` (every run with its "
        "settings, scores and origin) and the picture from its runs; no figure here is typed by "
        "hand.",
        *evidence_guidance.headline(table, order),
        "## Scores",
        score_table(table, order, common, records),
        _how_to_read(common, table, campaign),
        *evidence_guidance.section(table, order),
        "## How sure, and at what cost",
        sum_table(table, order),
        _about_sums(table, records, campaign),
        *_picture(table, campaign),
        "## What was trained on what",
        *_sources(table, records, order),
        *_remarks(table, order),
        "## What is missing",
        _missing(records, campaign),
    ])  # fmt: skip


def _how_to_read(common: Sequence[str], table: Sequence[Row], campaign: Campaign) -> str:
    over = f"{len(common)} tasks ({', '.join(common)})" if common else ""
    return "\n".join([
        "- Mazes: success rate in percent. Locomotion: normalised return 100 (R - min) / (max - "
        "min). Always the last checkpoint, never the best.",
        "- In brackets: 95 % bootstrap interval of the mean over seeds; in parentheses: how many "
        "seeds. With (1) the interval is over that seed's episodes and says nothing of how seeds "
        "differ. Few seeds make the interval too narrow.",
        "- data: what the episodes of the dataset reach themselves.",
        f"- average and IQM: over {over}, IQM over all their seeds; an interval stands where each "
        "of these tasks has two seeds. A label with runs of less than half of the tasks has none. "
        "Over all tasks only a label with a run of each has one."
        if over else
        "- average and IQM: no task has one of every label, so only labels with runs of all tasks "
        "have them.",
        f"- Every agent has {campaign.width} units in each hidden layer and {campaign.steps:,} "
        f"updates, but where a column says otherwise.{_batches(table)} `{CLONE}` is `{OURS}` with "
        f"eta = 0, the same agent without value guidance. The defaults of `{OURS}` follow from the "
        "number of updates and were chosen in trials here; its rivals keep those of their authors, "
        "made for the authors' lengths of run.",
    ])  # fmt: skip


def _batches(table: Sequence[Row]) -> str:
    """Return whose updates draw how many rows, where not all draw equally many."""
    labels: dict[int, list[str]] = {}
    for row in (row for row in table if row.main):
        found = {
            record["settings"].get("batch_size") for runs in row.runs.values() for record in runs
        }
        for size in found - {None}:
            labels.setdefault(size, []).append(row.name)
    usual = max(labels, key=lambda size: len(labels[size]), default=0)
    others = [
        f"of {' and '.join(labels[size])} {size:,}" for size in sorted(labels) if size != usual
    ]
    return f" An update draws {usual:,} rows, {', '.join(others)}." if others else ""


def _about_sums(table: Sequence[Row], records: Sequence[Record], campaign: Campaign) -> str:
    """Return what the second table is to be read with."""
    lines = [
        "- Hours per seed: training alone, evaluation left out, as the runs took them on "
        f"{_listed(_values(records, 'processor'))}; other work on the machine is in them. Speed is "
        "measured in `docs/performance.md`."
    ]
    if any(row.main and row.name == OURS for row in table):
        lines.insert(
            0,
            f"- P({OURS} better): probability that a run of {OURS}, {campaign.steps:,} updates, "
            "scores higher than one of the label, a tie counting one half; mean over the tasks "
            "that both have.",
        )
    return "\n".join(lines)


def _picture(table: Sequence[Row], campaign: Campaign) -> list[str]:
    if not any(row.main for row in table):
        return []
    again = bool(_evaluated_again(table))
    return [
        "![learning curves](results.png)",
        f"A panel a task, {campaign.steps:,} updates; lines: means over seeds, bands: from the "
        "lowest seed to the highest, dotted: the data's own policy. Where most runs were evaluated "
        "at their end alone, the labels' last scores stand side by side, with bars over seeds."
        + (" Stars: the table's scores, of checkpoints that were evaluated again." * again),
    ]


def _sources(table: Sequence[Row], records: Sequence[Record], order: Sequence[str]) -> list[str]:
    """Return what each task's data were, and what made the runs."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for task in order:
        for label, record in ((x.name, r) for x in table for r in x.runs.get(task, ())):
            facts = (
                task, record["dataset"], f"{record['transitions']:,}",
                f"{record['environment']}, {record['episodes']} episodes a seed",
                "made locally" if record["made_locally"] else "official", record["description"],
            )  # fmt: skip
            kinds.setdefault(facts, []).append(label)
    tasks = [facts[0] for facts in kinds]
    lines = []
    for (task, dataset, size, environment, origin, description), labels in kinds.items():
        who = f" (of {'; '.join(dict.fromkeys(labels))})" if tasks.count(task) > 1 else ""
        lines.append(
            f"- **{task}**{who}: `{dataset}`, {origin}, {size} transitions; evaluated in "
            f"{environment}. {description}"
        )
    local = any(record["made_locally"] for record in records)
    warning = (
        "Sets that were made locally are neither D4RL's nor Minari's: no published score may stand "
        "beside theirs, and none does."
    )
    return [
        *([warning] if local else []),
        "\n".join(lines),
        f"gtp_fast {_listed(_values(records, 'gtp_fast'))}, git revisions: "
        f"{_listed(str(git)[:12] for git in _values(records, 'git'))}; `results.json` says which "
        "run is of which.",
    ]


def _remarks(table: Sequence[Row], order: Sequence[str]) -> list[str]:
    """Return what a reader must know of single cells: seeds of different kinds, divergence."""
    lines = _evaluated_again(table)
    for row in table:
        for task in order:
            runs = row.runs.get(task, ())
            unlike = [name for name in _ALIKE if any(r[name] != runs[0][name] for r in runs)]
            if unlike:
                lines.append(f"- {task}, {row.name}: the seeds differ in {', '.join(unlike)}.")
            lines += [
                f"- {task}, {row.name}: seed{'s' * (len(r['seeds']) > 1)} "
                f"{', '.join(map(str, r['seeds']))} held out {r['hold_out']:.3g} of the episodes "
                "and did not train on them."
                for r in runs
                if r.get("hold_out")
            ]
            for seed, step in (item for r in runs for item in r["diverged"].items()):
                lines.append(
                    f"- {task}, {row.name}: seed {seed} diverged at update {step:,} and was "
                    "evaluated as it was before."
                )
    return ["\n".join(lines)] if lines else []


def _evaluated_again(table: Sequence[Row]) -> list[str]:
    runs = [r for row in table for records in row.runs.values() for r in records]
    # Records of an older results.json do not say it.
    again = [r for r in runs if r.get("evaluated_again")]
    if not again:
        return []
    return [
        f"- {len(again)} of {len(runs)} runs are older than the default of `--act-by`. What acts "
        "changes nothing of training, so their last checkpoints were evaluated again as a new run "
        f"acts, in the same episodes (`gtp_fast.evaluate RUN --act-by "
        f"{again[0]['settings']['act_by']}`). Their curves show how they acted then, by the map."
    ]


def _missing(records: Sequence[Record], campaign: Campaign) -> str:
    missing: dict[str, dict[str, list[int]]] = {}
    for seed, task, label in campaign.missing(records):
        missing.setdefault(task, {}).setdefault(label, []).append(seed)
    asked = len(campaign.cells())
    if not missing:
        return f"Nothing: all {asked} cells have been run."
    left = sum(len(seeds) for labels in missing.values() for seeds in labels.values())
    lines = [f"{left} of {asked} cells ({campaign.steps:,} updates) have not been run:\n"]
    for task in (task for task in campaign.tasks if task in missing):
        alike: dict[str, list[str]] = {}
        for label in (label for label in campaign.labels if label in missing[task]):
            alike.setdefault(" ".join(map(str, missing[task][label])), []).append(label)
        said = (
            f"seed{'s' * (' ' in seeds)} {seeds} of {', '.join(labels)}"
            for seeds, labels in alike.items()
        )
        lines.append(f"- {task}: {'; '.join(said)}")
    return "\n".join(lines)


def _values(records: Sequence[Record], name: str) -> list[str]:
    return sorted({str(record[name]) for record in records})


def _listed(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def _json(records: Sequence[Record], campaign: Campaign) -> str:
    """Return one line a run, so that one changed run is one changed line."""
    head = json.dumps({name: value for name, value in vars(campaign).items()})
    return f'{{"campaign": {head},\n"runs": [\n' + ",\n".join(map(json.dumps, records)) + "\n]}\n"
