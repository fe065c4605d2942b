"""What sizes leave to PyTorch: told of an agent before it trains, in every place that tells."""

from __future__ import annotations

import pickle
import warnings

import pytest
import torch
from agent_cases import TINY, build, make, tiny
from folded import Folded, Sizes
from native_cases import needs_native

from gtp_fast import engine, ops
from gtp_fast.errors import UserError
from gtp_fast.networks.parameters import mlp_shapes
from gtp_fast.ops import limits
from gtp_fast.ops.operations import Form, Operations

CPU = torch.device("cpu")


def by_triton() -> Operations:
    """Return operations that say they are Triton's, without running one."""
    made = ops.resolve("reference")
    made.forms.update({name: Form("triton") for name in made.forms})
    return made


@pytest.mark.parametrize(
    ("width", "actions", "left"),
    [
        (64, 6, set()),
        (600, 6, {"actor", "critic"}),
        (7, 6, {"actor", "critic"}),
        (64, 65, {"actor", "perturb", "loss"}),
    ],
)
def test_what_a_kernel_does_not_hold_is_told_before_it_is_met(
    width: int, actions: int, left: set[str]
) -> None:
    networks = {
        "actor": mlp_shapes(40, width, 2, actions), "critic": mlp_shapes(20, width, 2, 1),
    }  # fmt: skip
    made = by_triton()
    made.note_sizes(networks, actions)
    assert {name for name, form in made.running.items() if form.name == "reference"} == left
    assert ("the kernel holds" in made.describe()) == bool(left)
    if left:
        with pytest.raises(UserError, match="--backend fused is not available for"):
            made.refuse_beyond()
    else:
        made.refuse_beyond()


def test_every_perceptron_of_an_agent_counts() -> None:
    agent, made = make("sscql", (0,)), by_triton()
    shapes = {name: part.parameters.shapes for name, part in agent.learners().items()}
    made.note_sizes({"actor": shapes["actor"]}, 2)
    assert made.beyond.keys() == {"actor t", "actor d"}


def test_layer_norms_have_their_own_reason() -> None:
    made = by_triton()
    made.forms["critic"] = Form("reference", "no Triton kernel has layer norms")
    made.note_sizes({"critic": mlp_shapes(20, 64, 2, 1, True)}, 6)
    assert not made.beyond


@needs_native
def test_an_agent_tells_of_its_layers_and_of_its_sampler() -> None:
    limits.beyond.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        agent = make("bc", (0,), tiny("bc", width=2), observation_dim=65537)
        agent.acting()
    assert [str(one.message) for one in said] == [
        "the sampler runs through PyTorch: observation_dim must be 1..16384, not 65537"
    ]
    told = agent.ops.describe()
    assert "reference: actor (native code holds layers of at most 65536 units)" in told
    assert "reference: sampler (observation_dim must be" in told
    strict = make("bc", (0,), tiny("bc", width=2), observation_dim=65537, backend="fused")
    with pytest.raises(UserError, match="not available for actor: native code holds"):
        strict.ops.refuse_beyond()


@needs_native
def test_operations_are_pickled_with_what_they_note() -> None:
    first = ops.resolve("auto")
    copied = pickle.loads(pickle.dumps(first))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        copied.sampler(Folded(Sizes(O=16385, A=2, H=8, L=2, K=2)).policy())
    assert copied.beyond.keys() == {"sampler"} and not first.beyond


@needs_native
def test_the_engine_is_not_called_fused_where_an_operation_is_not() -> None:
    chosen = engine.choose("auto", "auto", CPU)
    assert chosen.of(build(TINY, (0,)).ops, CPU) is chosen and chosen.name == "fused"
    flow = make("gtp", (0,), tiny("gtp", objective="flow"))
    assert chosen.of(flow.ops, CPU).describe() == (
        "eager (no GPU; not fused: --objective flow has no fused form)"
    )
    assert chosen.of(flow.ops, torch.device("cuda")).name == "captured"
    eager = engine.choose("eager", "auto", CPU)
    assert eager.of(flow.ops, CPU) is eager
