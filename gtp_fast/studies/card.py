"""The model card of a published policy: metadata, use, scores and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gtp_fast.policy.file import Packed
from gtp_fast.runs import Run
from gtp_fast.studies import groups, markdown, tables
from gtp_fast.studies.group import RETURN, SCORE, SUCCESS, Group
from gtp_fast.studies.page import read

_TAGS = ("reinforcement-learning", "offline-reinforcement-learning", "gtp_fast")
_LOCAL = "no: made locally, scores do not compare"
_METRICS = {SCORE: "normalised_return", SUCCESS: "success_rate", RETURN: "mean_reward"}


def text(run: Run, packed: Packed, repo: str) -> str:
    """Return README.md of a repository that holds a policy of a run."""
    about, summary = packed.description, run.summary()
    found = groups.collect([str(run)], unscored=True)
    # Seeds may have settings of their own.
    group = next(one for one in found if about["seed"] in one.named)
    metadata = yaml.safe_dump(_metadata(group, about, repo), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{metadata}---",
        f"# {about['agent']} on {about['task']}",
        f"A policy trained by gtp_fast on `{_line(group.dataset)}`: seed {about['seed']}, update "
        f"{about['step']:,}, {about['weights']} weights.",
        _use(packed, repo),
    ]
    if group.scores:
        parts += ["## Scores", tables.run_table(found), *_candidates(about)]
    parts += ["## Data", _data(group, summary), "## Made with", _made(run, summary)]
    parts += ["## Settings", _settings(group.settings)]
    return "\n\n".join(parts) + "\n"


def _metadata(group: Group, about: Mapping[str, Any], repo: str) -> dict[str, Any]:
    data = {
        "library_name": "gtp_fast",
        "pipeline_tag": "reinforcement-learning",
        "tags": [*_TAGS, about["agent"], about["task"]],
    }
    value = group.scores.get(about["step"], {}).get(about["seed"])
    # The file draws one action, so a score by candidates is not its own.
    if value is None or about["num_candidates"] > 1:
        return data
    metric = {
        "type": _METRICS[group.unit],
        "name": f"{group.unit}, update {about['step']}",
        "value": round(value, 3),
    }
    result = {
        "task": {"type": "reinforcement-learning", "name": about["task"]},
        "dataset": {"type": "offline", "name": group.dataset},
        "metrics": [metric],
    }
    return data | {"model-index": [{"name": repo, "results": [result]}]}


def _use(packed: Packed, repo: str) -> str:
    observation, action = (
        packed.policy.first_observation.shape[1], packed.policy.first_action.shape[1],
    )  # fmt: skip
    keys = packed.description["observation_keys"]
    joined = f", {' then '.join(keys)} in one row" if keys else ""
    return (
        f"```\ngtp_fast pull {repo} policy\n```\n\n```python\nimport gtp_fast\n\n"
        'policy = gtp_fast.load("policy/policy.gtp")\n'
        f"action = policy.act(observation)  # {observation} numbers{joined} -> {action}\n```"
    )


def _candidates(about: Mapping[str, Any]) -> list[str]:
    count = about["num_candidates"]
    if count <= 1:
        return []
    mean = about.get("candidate_rule") == "mean"
    acts = f"act by the mean of {count} candidates" if mean else (
        f"choose among {count} candidates by their critic"
    )  # fmt: skip
    return [
        f"These scores are of policies that {acts}. "
        "`policy.gtp` has no critic and draws one action, so it scores otherwise."
    ]


def _data(group: Group, summary: Mapping[str, Any]) -> str:
    data, official = read.mapping(summary.get("data")), summary.get("official_dataset")
    facts = {
        "dataset": group.dataset,
        "published set": _LOCAL if official is False else "yes" if official else None,
        "transitions": data.get("transitions"),
        "description": data.get("description"),
        "mean return of its episodes": read.figure(summary.get("data_return")),
        "evaluated in": summary.get("environment"),
    }
    return _table(facts)


def _made(run: Run, summary: Mapping[str, Any]) -> str:
    machine = read.facts(run)
    names = ("gtp_fast", "git", "torch", "processor", "gpu")
    facts = {name: machine.get(name) for name in names} | {"engine": summary.get("engine")}
    return _table(facts)


def _settings(settings: Mapping[str, Any]) -> str:
    return _table({name: json.dumps(value) for name, value in settings.items()})


def _table(facts: Mapping[str, Any]) -> str:
    rows = [(_line(name), _line(value)) for name, value in facts.items() if value is not None]
    return markdown.table(("", ""), rows, aligned=False)


def _line(value: object) -> str:
    """Return a value as one cell of a table."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")


def published(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration for others to read: a dataset's place on this machine is left out."""
    dataset = config.get("dataset")
    here = isinstance(dataset, str) and (Path(dataset).is_absolute() or Path(dataset).exists())
    return dict(config) | ({"dataset": config.get("dataset_id")} if here else {})
