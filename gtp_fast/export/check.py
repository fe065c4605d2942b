"""Checks that an exported file acts as the policy does, within rounding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gtp_fast.export.programs import Program, Rows
from gtp_fast.ops.sampling import draw_noise
from gtp_fast.policy import Policy
from gtp_fast.policy.file import Packed
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream

SEED = 0
_ROWS, _DRAWS = 256, 4
Exact = NDArray[np.float64]


class Trial(NamedTuple):
    """Random observations [B, O], their noise, and the exact and acted actions [B, A]."""

    observation: Rows
    noise: Rows
    exact: Exact
    """The reference in float64."""
    acted: Rows
    """`Policy.act`."""
    allowed: float
    """The largest error that float32 explains where the noise is given."""
    drawn: float
    """The same where float32 draws the noise."""


class Difference(NamedTuple):
    """The largest differences of an exported file's actions, in the environment's units."""

    exact: float
    """To the reference in float64."""
    acted: float
    """To `Policy.act`."""


def trial(packed: Packed, policy: Policy) -> Trial:
    """Draw a trial and work out its actions.

    Allowed is twice the largest error of plain float32, and a few units in the last place: the rule
    of every fast path. Inputs are moved by their own rounding in some of the runs, for a policy may
    be steep; it then enlarges also what rounding does to a draw.
    """
    draw = np.random.default_rng(SEED)
    observation = draw.standard_normal((_ROWS, policy.observation_dim), np.float32)
    counted = philox.key_tensor([SEED]), 0, Stream.ACT, _ROWS, policy.action_dim
    wide, plain = (
        draw_noise(philox.normals, packed.policy.draws, *counted, dtype)[0].numpy()
        for dtype in (torch.float64, torch.float32)
    )
    noise = wide.astype(np.float32)
    exact: Exact = _run(packed, torch.float64, observation, wide)
    errors = [np.abs(_run(packed, torch.float32, observation, noise) - exact).max()]
    epsilon = float(np.finfo(np.float32).eps)
    for _ in range(_DRAWS):
        moved = (
            (x * (1 + draw.uniform(-epsilon, epsilon, x.shape))).astype(np.float32)
            for x in (observation, noise)
        )
        errors.append(np.abs(_run(packed, torch.float32, *moved) - exact).max())
    of_draw = np.abs(_run(packed, torch.float32, observation, plain) - exact).max()
    allowed, drawn = (
        float(2 * max(found) + 4 * epsilon * np.abs(exact).max())
        for found in (errors, [*errors, of_draw])
    )
    return Trial(observation, noise, exact, policy.act(observation, SEED), allowed, drawn)


def difference(actions: Rows, trial: Trial) -> Difference:
    """Compare a file's actions with those of the trial."""
    wide = actions.astype(np.float64)
    return Difference(*(float(np.abs(wide - known).max()) for known in (trial.exact, trial.acted)))


def _run(packed: Packed, dtype: torch.dtype, observation: Rows, noise: Rows | Exact) -> Exact:
    inputs = (torch.from_numpy(x).to(dtype) for x in (observation, noise))
    with torch.no_grad():
        actions: Exact = Program(packed, dtype)(*inputs).double().numpy()
    return actions
