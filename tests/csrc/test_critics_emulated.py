"""The critics' cluster kernel on the host: its results, its order of threads, what it refuses."""

from __future__ import annotations

import ctypes

import emulated
import pytest
import torch
from critics_case import AMPERE, HOPPER, Case, Emulated, Shape
from triton_cases import poisoned_outputs  # noqa: F401

from gtp_fast.errors import UserError
from gtp_fast.ops import critics


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels' source compiled for the host."""
    if reason := emulated.missing():
        pytest.skip(reason)
    return emulated.build(tmp_path_factory.mktemp("emulation"))


@pytest.fixture
def card(emulator: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel run in the emulation."""
    monkeypatch.setattr(critics, "prepared", lambda _, sizes: Emulated(emulator, sizes))


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(
    "shape",
    [
        Shape(),
        Shape(S=2, O=11, A=3, H=64, D=2, M=2, B=33),
        Shape(S=3, O=3, A=2, H=128, D=1, B=5),
        Shape(O=105, A=17, H=192, M=3, B=16),
    ],
    ids=str,
)
def test_the_td_step_is_that_of_the_reference(shape: Shape) -> None:
    Case(shape).check()


@pytest.mark.usefixtures("card")
def test_clusters_give_the_same_bits_whatever_runs_first() -> None:
    # The same rows in each cluster; the emulation's random order is another in each.
    case, tiles = Case(Shape(S=2, O=11, A=3, H=64, B=16)), 3
    one = case.fast()
    repeated = [x.repeat(1, tiles, 1) for x in (*case.now, *case.next)]
    case.now, case.next = (repeated[0], repeated[1]), (repeated[2], repeated[3])
    case.reward, case.mask = (x.repeat(1, tiles) for x in (case.reward, case.mask))
    many = case.fast()
    for name in ("deltas", "gradient", "hidden"):
        first, *others = many[name].unflatten(-2, (tiles, -1)).unbind(-3)
        assert all(torch.equal(x, first) for x in others), name
    assert torch.equal(one["hidden"], first)


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("network", [0, 1], ids=["online", "target"])
@pytest.mark.parametrize("twin", [0, 1])
def test_a_diverged_twin_spoils_its_seed_and_no_other(network: int, twin: int) -> None:
    case = Case(Shape(S=2, O=11, A=3, H=64, D=2))
    before = case.fast()
    case.copies[network][2 + twin, -2] = torch.nan  # a weight of the last layer
    after = case.fast()
    spoiled = after["gradient"].view(2, 2, -1)[1]
    # A target serves both twins.
    assert torch.isnan(spoiled[twin] if network == 0 else spoiled).all()
    assert torch.isnan(after["losses"]).tolist() == [False, True]
    for name, value in before.items():
        groups = slice(0, 1 if name == "losses" else 2)
        where = (slice(None), groups) if value.ndim == 4 else (groups,)
        assert torch.equal(after[name][where], value[where]), name


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("action", [0, 1])
def test_a_next_action_of_no_value_leaves_no_best(action: int) -> None:
    case = Case(Shape(O=11, A=3, H=64, D=2, M=2))
    before, row = case.fast()["gradient"], 5
    case.next[1][0, action * case.shape.B + row, 0] = torch.nan
    after = case.fast()["gradient"]
    assert torch.isnan(after[:, row]).all()
    after[:, row] = before[:, row]
    assert torch.equal(after, before)


@pytest.mark.parametrize(
    ("sizes", "card", "reason"),
    [
        ((29, 8, 100, 3, 1), HOPPER, "a width that is a multiple of 64, not 100"),
        ((29, 8, 512, 3, 1), HOPPER, r"\d+ kB .* 3 hidden layers of 512 and 37 inputs, .* 227$"),
        ((29, 8, 256, 3, 13), HOPPER, r"228 kB .* has 227$"),
        ((29, 8, 256, 3, 1), AMPERE, "a GPU with clusters, of capability 9.0 or newer"),
        ((29, 8, 256, 3, 1), (4, *HOPPER[1:]), "room for 8 blocks at once on this GPU"),
        ((29, 8, 256, 3, 0), HOPPER, "at least one input, hidden layer and next action"),
    ],
)
def test_what_a_card_cannot_hold_is_refused_with_one_reason(
    emulator: ctypes.CDLL, sizes: tuple[int, ...], card: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=f"in one cluster kernel need {reason}"):
        Emulated(emulator, sizes, card).run(1, 16, 0.9, [0] * 14, [0] * 6, 0)


@pytest.mark.usefixtures("card")
def test_copies_that_are_not_aligned_are_refused() -> None:
    case = Case(Shape(O=3, A=2, H=64, D=1))
    case.copies = tuple(x.contiguous() for x in case.copies)
    with pytest.raises(ValueError, match="need copies of the weights in aligned rows"):
        case.fast()


@pytest.mark.usefixtures("card")
def test_shapes_that_do_not_fit_are_refused() -> None:
    case = Case(Shape(O=3, A=2, H=64, D=1))
    case.mask = case.mask[:, 1:]
    with pytest.raises(UserError, match=r"inputs and a mask of .*\(1, 17\)\], not .*\(1, 16\)\]"):
        case.fast()
    case.parameters = tuple(x[:, 1:] for x in case.parameters)
    with pytest.raises(UserError, match="critics of 449 parameters each"):
        case.fast()


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("name", ["reward", "mask"])
def test_inputs_that_are_not_float32_are_refused(name: str) -> None:
    case = Case(Shape(O=3, A=2, H=64, D=1))
    setattr(case, name, getattr(case, name).double())
    with pytest.raises(UserError, match=r"read torch\.float32 on cpu, not .*torch\.float64"):
        case.fast()


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("network", [0, 1], ids=["online", "target"])
@pytest.mark.parametrize("name", ["parameters", "copies"])
def test_rows_of_another_stride_are_refused(name: str, network: int) -> None:
    case = Case(Shape(O=3, A=2, H=64, D=1))
    pair = list(getattr(case, name))
    pair[network] = torch.cat([pair[network]] * 2, 1)[:, : pair[network].shape[1]]
    setattr(case, name, tuple(pair))
    with pytest.raises(UserError, match="rows of one stride"):
        case.fast()


@pytest.mark.usefixtures("card")
def test_parameters_that_are_not_float32_are_refused() -> None:
    case = Case(Shape(O=3, A=2, H=64, D=1))
    case.parameters = tuple(x.double() for x in case.parameters)
    with pytest.raises(UserError, match=r"rows of one stride in torch\.float32"):
        case.fast()


def test_what_it_does_not_compute_is_refused_with_the_reason() -> None:
    case = Case(Shape(O=3, A=2, H=64, D=1))
    given = case.shape[1:6], case.parameters
    for precision in ("fp32", "tf32"):
        with pytest.raises(UserError, match=f"critics_together is not available.*not {precision}"):
            critics.ClusterCritics(*given, case.copies, precision)
    with pytest.raises(UserError, match="reads bf16 copies of the weights"):
        critics.ClusterCritics(*given, case.parameters, "bf16")
    with pytest.raises(UserError, match="runs on a GPU, not on cpu"):
        critics.ClusterCritics(*given, case.copies, "bf16")
