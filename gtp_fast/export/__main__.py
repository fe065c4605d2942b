"""`python -m gtp_fast.export RUN OUT`: a trained policy as files that run without gtp_fast."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from gtp_fast import cli
from gtp_fast.agents.acting import ActBy
from gtp_fast.export import Exported, export

_USE = {
    "cpp": "policy.gtp, gtp_policy.hpp, example.cpp (its first line builds and runs it)",
    "onnx": "policy.onnx (inputs observation and noise, output action)",
    "pt2": "policy.pt2 (torch.export.load(path).module())",
}


@dataclass(frozen=True)
class Options:
    """Write a trained policy as files that run without gtp_fast; see docs/export.md."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder, or one of its checkpoints."""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder to write; it must not exist."""
    formats: tuple[str, ...] = ()
    """cpp, onnx, pt2; by default all that are available."""
    seed_index: int = 0
    """Which of the run's seeds."""
    checkpoint: str = "last"
    """last, best, or a checkpoint by its name or path."""
    weights: str | None = None
    """ema (the moving average) or online; by default those that were evaluated."""
    k: int | None = None
    """Steps of the sampler; by default the run's own."""
    noise_scale: float | None = None
    """Scale of the initial noise, 0 for none; by default the run's own."""
    act_by: ActBy | None = None
    """map (K jumps) or euler (K Euler steps of its flow), of gtp; by default the run's own."""
    overwrite: bool = False
    """Replace the folder of an earlier export."""


def main(argv: Sequence[str]) -> int:
    """Export as the command line says; return the exit code."""
    options = cli.parse(Options, argv, "python -m gtp_fast.export")
    made = export(
        options.run,
        options.out,
        seed_index=options.seed_index,
        checkpoint=options.checkpoint,
        weights=options.weights,
        k=options.k,
        noise_scale=options.noise_scale,
        act_by=options.act_by,
        formats=[name for given in options.formats for name in given.split(",")] or None,
        overwrite=options.overwrite,
    )
    print(report(made))
    return 0


def report(made: Exported) -> str:
    """Return the written files, their policy, and the differences of its actions."""
    policy, about = made.packed.policy, made.packed.description
    observation_dim, action_dim = policy.first_observation.shape[1], policy.first_action.shape[1]
    lines = [
        f"{about['agent']} on {about['task']}, seed {about['seed']}, update {about['step']:,}, "
        f"{about['weights']} weights, K = {policy.k}"
        f"{' Euler steps' if about['act_by'] == 'euler' else ''}: "
        f"{observation_dim} numbers observed, {action_dim} acted",
        "",
        f"{'format':8}{'to float64':>12}{'to Policy.act':>16}   in {made.folder}",
    ]
    lines += [
        f"{name:8}{found.exact:12.1e}"
        f"{f'{found.acted:.1e}' if found.acted else 'same bits':>16}   {_USE[name]}"
        for name, found in made.differences.items()
    ]
    lines += [f"{name:8}{'skipped':>12}{'':16}   {why}" for name, why in made.skipped.items()]
    lines += [
        "",
        "Largest differences of 256 random actions, in the environment's units; rounding explains "
        f"{made.allowed:.1e}.",
    ]
    if (count := about["num_candidates"]) > 1:
        mean = about.get("candidate_rule") == "mean"
        acts = f"the mean of {count} candidates" if mean else f"one of {count} candidates, by Q"
        lines.append(
            f"The run acts with {acts}; these files have no critic and draw one action: "
            "gtp_fast.evaluate --num-candidates 1 gives their score."
        )
    if keys := about["observation_keys"]:
        lines.append(f"The observation is {' then '.join(keys)}, in one row.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(cli.run(main))
