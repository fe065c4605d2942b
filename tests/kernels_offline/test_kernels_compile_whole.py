"""The kernels of a whole update, compiled without a GPU at the paper's width and at the largest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

pytest.importorskip("triton")

from test_kernels_compile import (  # noqa: F401
    COUNT,
    STEP,
    assert_lean,
    compiled,
    pytestmark,
)

S, B, O, A, DEPTH, CLOCKS = 2, 256, 29, 8, 3, 2144  # noqa: E741
Build = Callable[..., tuple[str, str]]
# Capability, width, precision. Full float32 is the default; the others are checked on the card they
# are likeliest to be used on, and on that with the least shared memory. At width 256 tf32 and bf16
# of 9.0 are compiled with the whole update, in test_kernels_compile_update.
VARIANTS = [
    *((capability, 512, "fp32") for capability in (80, 90, 120)),
    *((capability, 256, "fp32") for capability in (90, 120)),
    *((capability, 512, other) for capability in (90, 120) for other in ("tf32", "bf16")),
    (120, 256, "bf16"),
]
# 8.0 and 8.9 have the same tiles, and critic and actor the same products: half of each, at width
# 512 where there is less shared memory.
CRITICS = [*VARIANTS, (80, 256, "tf32"), (89, 512, "bf16")]
ACTORS = [*VARIANTS, (80, 256, "bf16"), (89, 512, "tf32")]


def rows(inputs: int, outputs: int, width: int, groups: int, before: int = 0) -> torch.Tensor:
    size = (inputs + 1) * width + (DEPTH - 1) * (width + 1) * width + (width + 1) * outputs
    return torch.zeros(groups, before + size)


def critics(width: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    return [torch.zeros(S, B, O), torch.zeros(S, B, A)], rows(O + A, 1, width, 2 * S)


def actors(width: int, count: int = 2) -> tuple[list[torch.Tensor], torch.Tensor]:
    inputs = [torch.zeros(S, count * B, A), torch.zeros(S, count * B, 32), torch.zeros(S, B, O)]
    return inputs, rows(A + 32 + O, A, width, S, CLOCKS)


def saved(width: int, groups: int, count: int) -> object:
    from gtp_fast.kernels.mlp import Saved

    return Saved(*torch.zeros(2, DEPTH, groups, count, width))


@pytest.mark.parametrize(("capability", "width", "precision"), CRITICS)
def test_critic_compiles_lean(
    compiled: Build,  # noqa: F811
    capability: int,
    width: int,
    precision: str,
) -> None:
    from gtp_fast.kernels import critic_backward, dense, mlp_pair, mlp_weights

    inputs, flat = critics(width)
    kept, values = saved(width, 2 * S, B), torch.zeros(2 * S, B, 1)
    # What products read, in aligned rows.
    copy = dense.aligned_rows(flat, torch.bfloat16 if precision == "bf16" else torch.float32)
    parts, _, widths = dense.pieces(inputs, 2 * S)
    reward = torch.zeros(S, B)
    launches = [
        (
            mlp_pair, "_pair_kernel",
            lambda: mlp_pair.mlp_pair(
                inputs, inputs, flat, flat, (width, DEPTH, 1), precision, copies=(copy, copy)
            ),
        ),
        (
            mlp_pair, "_pair_kernel",
            lambda: mlp_pair.mlp_pair(
                inputs, inputs, flat, flat, (width, DEPTH, 1), precision, save=False
            ),
        ),
        (
            critic_backward, "_critic_kernel",
            lambda: critic_backward.critic_chain(
                values, values, reward, reward, 0.99, kept, widths, copy, precision
            ),
        ),
        (
            mlp_weights, "_weights_kernel",
            lambda: mlp_weights.weight_gradients(
                parts, widths, kept.hidden, kept.slopes, values, flat, precision
            ),
        ),
    ]  # fmt: skip
    for module, kernel, launch in launches:
        assert_lean(*compiled(module, kernel, launch, capability))


@pytest.mark.parametrize(("capability", "width", "precision"), ACTORS)
def test_actor_compiles_lean(
    compiled: Build,  # noqa: F811
    capability: int,
    width: int,
    precision: str,
) -> None:
    from gtp_fast.kernels import actor_backward, actor_gradients, dense, mlp_pair, weigh
    from gtp_fast.kernels.perturb import perturbed

    inputs, whole = actors(width)
    teachers, _ = actors(width, 1)
    flat, kept = whole[:, CLOCKS:], saved(width, S, 2 * B)
    parts, _, widths = dense.pieces(inputs, S)
    values, eta, output = torch.zeros(2 * S, B, 1), torch.zeros(S), torch.zeros(S, 2 * B, A)
    batch, losses = torch.zeros(S, B, A), torch.zeros(S, 2 * B)
    copy = dense.aligned_rows(whole, torch.bfloat16 if precision == "bf16" else torch.float32)
    copy = copy[:, CLOCKS:]
    weighing = weigh.weighing(values, values, eta, torch.zeros(4, S))
    drawn = perturbed(S, B, A, torch.device("cpu"))
    embedding, levels = torch.zeros(S, 2 * B, 32), torch.zeros(S, 2 * B, 2)
    launches = [
        (
            mlp_pair, "_pair_kernel",
            lambda: mlp_pair.mlp_pair(
                inputs, teachers, flat, flat, (width, DEPTH, A), precision, copies=(copy, copy)
            ),
        ),
    ]  # fmt: skip
    # Weights in the gradients, as by default, and in the chain.
    for chain_weighs, gradients_weigh in ((None, weighing), (weighing, None)):
        launches += [
            (
                actor_backward, "_actor_kernel",
                lambda given=chain_weighs: actor_backward.actor_chain(
                    eta, output, batch, batch, drawn, kept, widths, copy, given,
                    precision=precision,
                ),
            ),
            (
                actor_gradients, "_gradients_kernel",
                lambda given=gradients_weigh: actor_gradients.actor_gradients(
                    parts, widths, kept.hidden, kept.slopes, output, levels, embedding, (16, 32),
                    whole, whole, given, losses, precision=precision,
                    clock_parts=4 if given else 1, turn=64 if given else 16,
                    counter=COUNT if given else None,
                ),
            ),
        ]  # fmt: skip
    for module, kernel, launch in launches:
        assert_lean(*compiled(module, kernel, launch, capability))


@pytest.mark.parametrize(("capability", "width"), [(80, 512), (90, 256), (120, 512)])
def test_what_lies_around_the_passes_compiles_lean(
    compiled: Build,  # noqa: F811
    capability: int,
    width: int,
) -> None:
    from gtp_fast.kernels import batch, begin, dense, fold, folded, step, tally

    table, keys, seeds = torch.zeros(1000, 2 * O + A + 2), torch.zeros(S).long(), torch.zeros(S)
    _, flat = actors(width)
    sums, losses, five = torch.zeros(S, 97), torch.zeros(2, S, 32), torch.zeros(5, S)
    copies = (dense.aligned_rows(flat, torch.bfloat16),) * 2
    units = [
        torch.zeros(folded.units_of(S, (O, A, width, DEPTH), x).count, dtype=x)
        for x in (torch.bfloat16, torch.float32)
    ]
    of_batch = (
        table, (O, A, B), (1, 1), torch.zeros(1281), COUNT, keys, STEP, (0, 3, 4, 1, 2)
    )  # fmt: skip
    of_fold = (
        flat, flat, (O, A, width, DEPTH), (16, 32), torch.zeros(5, 2), torch.zeros(S * 1_000_000),
        (width, A),
    )  # fmt: skip
    bad, step_now = torch.zeros(3, S).long(), STEP.long()
    launches = [
        (
            batch, "_batch_kernel",
            lambda: batch.draw_batch(
                table, (O, A, B), (1, 1), torch.zeros(1281), COUNT, keys, STEP, (0, 3, 4, 1, 2)
            ),
        ),
        (
            batch, "_batch_kernel",
            lambda: batch.draw_batch(
                table, (O, A, B), (1, 1), torch.zeros(1281), COUNT, keys, STEP, (0, 3, 4, 1, 2),
                cdf=torch.zeros(1281).long(),
            ),
        ),
        (
            batch, "_batch_kernel",
            lambda: batch.draw_batch(
                table, (O, A, B), (1, 1), torch.zeros(1281), COUNT, keys, STEP, (0, 3, 4, 1, 2),
                lots=torch.zeros(1000).long(),
            ),
        ),
        (begin, "_begin_kernel", lambda: begin.begin((of_batch, {}), of_fold)),
        (
            begin, "_begin_kernel",
            lambda: begin.begin((of_batch, {"cdf": torch.zeros(1281).long()}), of_fold, units[0]),
        ),
        (
            fold, "_fold_kernel",
            lambda: fold.fold(*of_fold, torch.zeros(S, 2 * B, 2), torch.zeros(S, B, 2), units[1]),
        ),
        *(
            (
                step, "_step_kernel",
                lambda given=given: step.take_step(
                    (flat,) * 5, sums, losses, five[1:3], five[4], seeds, keys, STEP, 0.005, 1.0,
                    1000, 0.1, (0.9, 0.999), 1e-8, torch.zeros(S, 4, CLOCKS), copies, given,
                ),
            )
            for given in (None, tally.Account(five, five, torch.zeros(3), bad, 1, 4))
        ),
        (
            tally, "_tally_kernel",
            lambda: tally.tally(five, five, torch.zeros(3), bad, step_now, True),
        ),
    ]  # fmt: skip
    for module, kernel, launch in launches:
        assert_lean(*compiled(module, kernel, launch, capability))
