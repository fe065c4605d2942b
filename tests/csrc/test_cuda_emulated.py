"""The CUDA sampler's kernels on the host: their indexing, barriers, packing, and the choice."""

from __future__ import annotations

import ctypes

import emulated
import numpy as np
import pytest
from folded import FORMS, Folded, Form, Sizes
from rounded import ROUND

H100 = 132, 232448, 16
A100 = 108, 166912, 0
RTX_4090 = 128, 101376, 0


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels' source compiled for the host."""
    if reason := emulated.missing():
        pytest.skip(reason)
    return emulated.build(tmp_path_factory.mktemp("emulation"))


@pytest.mark.parametrize(("path", "rows", "precision"), emulated.PLANS)
@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(K=2),
        Sizes(S=2, O=11, A=3, H=100, L=2, K=2),
        Sizes(S=2, O=17, A=6, H=64, L=1, K=3),
    ],
    ids=str,
)
def test_every_kernel(
    emulator: ctypes.CDLL, sizes: Sizes, path: str, rows: int, precision: str
) -> None:
    # A whole tile, and one with absent rows.
    emulated.check(emulator, Folded(sizes), path, rows, precision, rows + 1)


@pytest.mark.parametrize(
    ("path", "rows", "precision"),
    [
        ("latency", 4, "fp32"),
        ("throughput", 8, "fp32"),
        ("columns", 8, "fp32"),
        ("pair", 8, "fp32"),
        ("cluster", 4, "fp32"),
        ("cluster", 16, "tf32"),
        ("cluster", 16, "bf16"),
        ("counted", 16, "bf16"),
        ("tensor", 16, "tf32"),
        ("tensor", 16, "bf16"),
        ("tensor", 32, "tf32"),
        ("tensor", 32, "bf16"),
    ],
)
@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(O=105, A=17, H=300, L=3, K=1),
        Sizes(O=27, A=8, H=512, L=2, K=1),
        Sizes(S=16, O=11, A=1, H=128, L=4, K=2),
        Sizes(O=400, A=6, H=33, L=3, K=2),
    ],
    ids=str,
)
def test_shapes(emulator: ctypes.CDLL, sizes: Sizes, path: str, rows: int, precision: str) -> None:
    emulated.check(emulator, Folded(sizes), path, rows, precision, 5)


@pytest.mark.parametrize(
    ("path", "rows", "precision"),
    [
        ("latency", 2, "fp32"),
        ("throughput", 16, "fp32"),
        ("columns", 4, "fp32"),
        ("pair", 8, "fp32"),
        ("cluster", 16, "fp32"),
        ("cluster", 16, "bf16"),
        ("counted", 16, "bf16"),
        ("tensor", 64, "bf16"),
    ],
)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_forms(emulator: ctypes.CDLL, form: Form, path: str, rows: int, precision: str) -> None:
    policy = Folded(Sizes(S=2, O=11, A=3, H=36, L=2, K=3), form=form)
    emulated.check(emulator, policy, path, rows, precision, rows + 1)


@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(K=2),
        Sizes(S=6, O=11, A=3, H=100, L=1, K=5),
        Sizes(S=6, O=5, A=70, H=128, L=3, K=2),
        Sizes(O=5, A=3, H=512, L=2, K=2),
    ],
    ids=str,
)
def test_counting_results_gives_the_bits_of_a_barrier(emulator: ctypes.CDLL, sizes: Sizes) -> None:
    policy = Folded(sizes)
    barrier, counted = (
        emulated.run(emulator, policy, path, 16, "bf16", 16) for path in ("cluster", "counted")
    )
    assert np.array_equal(barrier, counted)


@pytest.mark.parametrize(
    ("path", "rows"), [("latency", 2), ("throughput", 8), ("columns", 4), ("pair", 8)]
)
def test_a_diverged_seed_spoils_no_other(emulator: ctypes.CDLL, path: str, rows: int) -> None:
    # Sizes that are no multiples of four: what lies behind a seed's weights is the next seed's.
    policy = Folded(Sizes(S=2, O=11, A=3, H=30, L=2, K=2))
    before = emulated.run(emulator, policy, path, rows, "fp32", rows)
    for weight in (policy.first_action, policy.first_observation, *policy.hidden):
        weight[1] = np.nan
    after = emulated.run(emulator, policy, path, rows, "fp32", rows)
    assert np.array_equal(before[0], after[0]) and np.isnan(after[1]).all()


@pytest.mark.parametrize("rows", [1, 63, 255, 256, 257, 1000])
@pytest.mark.parametrize("precision", sorted(ROUND))
def test_batches_by_the_kernel_chosen_for_them(
    emulator: ctypes.CDLL, precision: str, rows: int
) -> None:
    policy = Folded(Sizes(S=8 if rows == 1 else 1, A=6, O=17, H=32, K=1, L=2))
    for device in (H100, RTX_4090):
        path, tile, _ = emulated.choose(emulator, policy, precision, rows, device)
        emulated.check(emulator, policy, path, tile, precision, rows)


@pytest.mark.parametrize(
    ("device", "precision", "rows", "chosen"),
    [
        (H100, "fp32", 1, ("cluster", 1)),
        (H100, "fp32", 64, ("cluster", 4)),
        (H100, "fp32", 256, ("cluster", 16)),
        (H100, "fp32", 257, ("pair", 8)),
        (H100, "fp32", 512, ("pair", 8)),
        (H100, "fp32", 513, ("pair", 16)),
        (H100, "fp32", 1025, ("columns", 8)),
        (H100, "fp32", 2048, ("columns", 16)),
        (H100, "fp32", 16384, ("throughput", 64)),
        (H100, "bf16", 1, ("counted", 16)),
        (H100, "bf16", 256, ("counted", 16)),
        (H100, "bf16", 257, ("tensor", 32)),
        (H100, "bf16", 8192, ("tensor", 64)),
        (H100, "bf16", 16384, ("tensor", 128)),
        (H100, "tf32", 16384, ("tensor", 128)),
        (A100, "fp32", 1, ("latency", 1)),
        (A100, "fp32", 16, ("latency", 1)),
        (A100, "fp32", 17, ("columns", 4)),
        (A100, "fp32", 512, ("columns", 8)),
        (A100, "fp32", 16384, ("columns", 16)),
        (A100, "bf16", 1, ("tensor", 32)),
        (A100, "bf16", 16384, ("tensor", 64)),
        (RTX_4090, "fp32", 512, ("columns", 8)),
        (RTX_4090, "tf32", 16384, ("tensor", 32)),
    ],
)
def test_the_choice(
    emulator: ctypes.CDLL,
    device: tuple[int, int, int],
    precision: str,
    rows: int,
    chosen: tuple[str, int],
) -> None:
    path, tile, words = emulated.choose(emulator, Folded(Sizes()), precision, rows, device)
    assert (path, tile) == chosen
    assert words.startswith(f"{precision}, ") and f" {tile} row" in words


def test_a_policy_too_wide_for_a_cluster_streams_its_weights(emulator: ctypes.CDLL) -> None:
    wide = Folded(Sizes(H=512))
    assert emulated.choose(emulator, wide, "fp32", 1, H100)[:2] == ("latency", 1)
    assert emulated.choose(emulator, wide, "bf16", 1, H100)[:2] == ("counted", 16)
    assert emulated.choose(emulator, wide, "bf16", 16384, H100)[:2] == ("tensor", 64)


@pytest.mark.parametrize("precision", sorted(ROUND))
@pytest.mark.parametrize("device", [H100, A100, RTX_4090], ids=["H100", "A100", "4090"])
@pytest.mark.parametrize("rows", [1, 512, 16384])
def test_no_policy_that_trains_is_refused(
    emulator: ctypes.CDLL, rows: int, device: tuple[int, int, int], precision: str
) -> None:
    for width in (8, 256, 257, 384, 512):
        for action, observation in ((8, 29), (64, 29), (17, 376)):
            policy = Folded(Sizes(H=width, A=action, O=observation, K=1, L=1))
            *_, words = emulated.choose(emulator, policy, precision, rows, device)
            said = f"({precision} does not fit this GPU's shared memory)"
            assert words.startswith(f"{precision}, ") or words.endswith(said)


@pytest.mark.parametrize(
    ("device", "precision", "width", "chosen"),
    [
        (RTX_4090, "bf16", 512, ("tensor", 16)),
        (A100, "tf32", 512, ("tensor", 16)),
        (A100, "bf16", 512, ("tensor", 32)),
        (RTX_4090, "tf32", 512, ("columns", 4)),
    ],
)
def test_what_does_not_fit_takes_a_smaller_tile_or_full_float32(
    emulator: ctypes.CDLL,
    device: tuple[int, int, int],
    precision: str,
    width: int,
    chosen: tuple[str, int],
) -> None:
    policy = Folded(Sizes(H=width))
    path, tile, words = emulated.choose(emulator, policy, precision, 512, device)
    assert (path, tile) == chosen
    said = f"({precision} does not fit this GPU's shared memory)"
    assert words.startswith("fp32, ") == words.endswith(said) == (path == "columns")
