"""Each way of cutting Triton's update into launches computes the update of the reference."""

from __future__ import annotations

import ctypes
import dataclasses
from typing import Any

import emulated
import pytest
import torch
from tolerance import assert_as_accurate
from torch import Tensor

pytest.importorskip("triton")
pytest.importorskip("gymnasium", reason="the agent's data package needs gymnasium")

from agent_cases import TINY, synthetic_table
from critics_case import Emulated
from gtp_fast.kernels import tiling
from nodes import counted
from rounded import round_products
from triton_cases import DEVICE, INTERPRETED, poisoned_outputs, pytestmark  # noqa: F401

from gtp_fast import engine
from gtp_fast.agents.gtp import GTP
from gtp_fast.agents.setup import Setup
from gtp_fast.errors import UserError
from gtp_fast.ops import critics
from gtp_fast.ops.launches import DEFAULT, OTHER_WAYS, Launches, other_ways

# No clipping: the reference clips the gradient where it lies, the kernels where they read it.
CONFIG = dataclasses.replace(TINY, width=16, batch_size=24, eta=(1.0, 2.0) * 4, value_samples=2)


def agent(
    launches: Launches = DEFAULT,
    backend: str = "fused",
    dtype: torch.dtype = torch.float32,
    count: int = 8,
    width: int = 16,
    **options: Any,
) -> GTP:
    """Return an agent of so many seeds; one seed's largest number may be right by luck."""
    config = dataclasses.replace(CONFIG, eta=CONFIG.eta[:count], width=width)
    setup = Setup(3, 2, range(3, 3 + count), DEVICE, backend, dtype, launches=launches, **options)
    made = GTP(config, setup)
    made.prepare(10)
    return made


def updated(made: GTP, steps: int = 1) -> dict[str, Tensor]:
    """Return gradients and numbers of the last of so many updates, and sums of metrics [S, n]."""
    table, watch = synthetic_table().to(DEVICE), engine.Watch(made)
    counter = torch.zeros((), dtype=torch.int64, device=DEVICE)
    for step in range(steps):
        made.advance(step, table)
        made.update_into(watch.totals, table, counter)
    assert counter == steps
    kept = {name: part.parameters.gradient.clone() for name, part in made.learners().items()}
    return kept | {"metrics": watch.total.T, "bad steps": watch.bad_step.T}


@pytest.fixture(scope="module")
def judges() -> list[dict[str, Tensor]]:
    return [updated(agent(backend="reference", dtype=x)) for x in (torch.float32, torch.float64)]


@pytest.mark.parametrize("others", [(), ("actor_beside",), tuple(other_ways("fp32"))], ids=len)
def test_each_way_is_the_update_of_the_reference(
    judges: list[dict[str, Tensor]], others: tuple[str, ...]
) -> None:
    ways = {name: OTHER_WAYS[name] for name in others}
    found = updated(agent(dataclasses.replace(DEFAULT, **ways)))
    assert not (found.pop("bad steps") + 1).any()
    for name, value in found.items():
        assert_as_accurate(name, value, *(judge[name] for judge in judges))


def test_the_default_ways_give_the_same_bits_twice() -> None:
    one, other = (updated(agent(count=1), 2) for _ in range(2))
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL | None:
    """The cluster kernels compiled for the host, where no device runs them."""
    if not INTERPRETED:
        return None
    if reason := emulated.missing():
        pytest.skip(reason)
    return emulated.build(tmp_path_factory.mktemp("emulation"))


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch, emulator: ctypes.CDLL | None) -> None:
    """Let the critics' cluster kernel run: on a card that has clusters, else in the emulation."""
    if emulator is not None:
        monkeypatch.setattr(critics, "prepared", lambda _, sizes: Emulated(emulator, sizes))
    elif torch.cuda.get_device_capability() < (9, 0):
        pytest.skip("this device has no clusters")


@pytest.mark.usefixtures("clusters")
def test_critics_together_are_the_update_of_rounded_products() -> None:
    def apart(made: GTP) -> dict[str, Tensor]:
        # Until the first update the targets are what they follow.
        made.critic.learner.average.flat.mul_(0.5)
        return updated(made)

    of: dict[str, Any] = {"width": 64, "count": 4}
    together = dataclasses.replace(DEFAULT, critics_together=True)
    found = apart(agent(together, precision="bf16", **of))
    rounded = apart(round_products(agent(backend="reference", **of), "bf16"))
    exact = apart(agent(backend="reference", dtype=torch.float64, **of))
    assert not (found.pop("bad steps") + 1).any()
    for name, value in found.items():
        assert_as_accurate(name, value, rounded[name], exact[name])


@pytest.mark.usefixtures("clusters")
def test_critics_together_give_the_same_bits_twice_and_follow_what_is_loaded() -> None:
    together = dataclasses.replace(DEFAULT, critics_together=True)
    one, other = (agent(together, count=1, width=64, precision="bf16") for _ in range(2))
    start = {name: value.clone() for name, value in one.state_dict().items()}
    first = updated(one)
    for _ in range(2):
        for name, value in updated(other).items():
            assert torch.equal(value, first[name]), name
        # An update has changed what is loaded here.
        other.load_state_dict(start)


def test_critics_together_are_refused_with_the_reason_where_they_are_not_built() -> None:
    together = dataclasses.replace(DEFAULT, critics_together=True)
    with pytest.raises(UserError, match="critics_together is not available: it is built for bf16"):
        updated(agent(together))
    without = dataclasses.replace(together, copies=False)
    with pytest.raises(UserError, match="the option copies makes"):
        updated(agent(without, precision="bf16"))
    with pytest.raises(UserError, match="not available: it is a part of Triton's update"):
        updated(agent(together, backend="reference"))


def test_every_option_has_another_way() -> None:
    assert OTHER_WAYS.keys() == {x.name for x in dataclasses.fields(Launches)}
    for name, value in OTHER_WAYS.items():
        assert value != getattr(DEFAULT, name), name


def around_loading(launches: Launches) -> list[dict[str, Tensor]]:
    """Return what two updates give, and one more after another state was loaded."""
    made = agent(launches, count=2, precision="bf16")
    start = {name: value.clone() for name, value in made.state_dict().items()}
    found = [updated(made, 2)]
    made.load_state_dict({name: value * 1.5 for name, value in start.items()})
    return [*found, updated(made, 1)]


@pytest.fixture(scope="module")
def by_default() -> list[dict[str, Tensor]]:
    return around_loading(DEFAULT)


@pytest.mark.parametrize("option", ["copies", "fold_packs", "step_accounts"])
def test_an_option_changes_no_bit_and_follows_what_is_loaded(
    by_default: list[dict[str, Tensor]], option: str
) -> None:
    other = around_loading(dataclasses.replace(DEFAULT, **{option: OTHER_WAYS[option]}))
    for one, found in zip(by_default, other, strict=True):
        for name, value in one.items():
            assert torch.equal(value, found[name]), name


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_only_an_update_that_samples_packs_the_policy(eta: float) -> None:
    made = GTP(dataclasses.replace(CONFIG, eta=(eta,)), Setup(3, 2, (3,), DEVICE, precision="bf16"))
    made.advance(1, synthetic_table())
    assert (made.do.begin.units is None) == made.clones == (eta == 0.0)


def test_an_update_that_accounts_advances_no_integer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = agent(count=1)
    table, watch = synthetic_table().to(DEVICE), engine.Watch(made)
    made.advance(1, table)
    with counted(monkeypatch), pytest.raises(ValueError, match="a counter that is a tensor, not 1"):
        made.update_into(watch.totals, table, 1)


@pytest.mark.parametrize(
    ("groups", "rows", "precision", "small", "expected"),
    [
        (2, 512, "fp32", True, 8), (2, 512, "fp32", False, 16), (2, 512, "bf16", True, 16),
        (3, 512, "fp32", True, 16), (16, 512, "fp32", True, 32),
    ],
)  # fmt: skip
def test_tiles_are_small_where_all_of_them_are_at_work_at_once(
    groups: int, rows: int, precision: str, small: bool, expected: int
) -> None:
    device = torch.device("cpu")
    assert tiling.tiles(groups, rows, 256, precision, device, small=small).rows == expected
