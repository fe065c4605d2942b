"""Whole updates of GTP through the kernels and by the reference."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tolerance import assert_as_accurate
from torch import Tensor

pytest.importorskip("triton")
pytest.importorskip("gymnasium", reason="the agent's data package needs gymnasium")

from agent_cases import TINY, synthetic_table
from gtp_fast.kernels import batch, begin, mlp_backward, mlp_pair, tiling
from nodes import counted
from triton_cases import DEVICE, pytestmark  # noqa: F401

from gtp_fast import engine, reference
from gtp_fast.agents.gtp import GTP
from gtp_fast.agents.gtp.update_triton import TritonUpdate
from gtp_fast.agents.setup import Setup
from gtp_fast.engine.loop import Captured
from gtp_fast.errors import UserError
from gtp_fast.ops.launches import Launches
from gtp_fast.reference import adam

CONFIG = dataclasses.replace(
    TINY, width=16, eta=(1.0, 2.0), max_q_backup=2, max_gradient_norm=1.0, weight_decay=5.0
)


def agent(backend: str, dtype: torch.dtype = torch.float32, pick: slice = slice(None)) -> GTP:
    config = dataclasses.replace(CONFIG, eta=CONFIG.eta[pick])
    made = GTP(config, Setup(3, 2, (3, 5)[pick], DEVICE, backend, dtype))
    made.prepare(10)
    return made


def states(made: GTP, steps: int) -> Iterator[dict[str, Tensor]]:
    table = synthetic_table().to(DEVICE)
    for step in range(steps):
        metrics = made.update(table, step)
        state = {name: value.clone() for name, value in made.state_dict().items()}
        yield {"metrics": metrics.T} | state


# Four seeds for a few updates, since the largest error of one may be luck; one for many.
@pytest.mark.parametrize(("seeds", "judged"), [(4, (1, 3)), (1, (10,))])
def test_updates_match_the_reference_agent(
    seeds: int, judged: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Adam's step by a gradient as small as its rounding has either sign, whoever computes it.
    monkeypatch.setattr(adam, "EPSILON", 1e-4)
    pairs = {
        "eta": (0.5, 1.0), "lambda_flow": (2.0, 0.3), "learning_rate": (1e-3, 3e-3),
        "critic_learning_rate": (3e-3, 1e-3),
    }  # fmt: skip
    own = {name: pair * (seeds // 2) or pair[1:] for name, pair in pairs.items()}
    config = dataclasses.replace(CONFIG, **own)
    forms = (("auto", torch.float32), ("reference", torch.float32), ("reference", torch.float64))
    runs = [GTP(config, Setup(3, 2, range(3, 3 + seeds), DEVICE, *form)) for form in forms]
    assert runs[0].ops.forms["mlp"].name == "triton"
    for made in runs:
        made.prepare(10)
    results = zip(*(states(made, max(judged)) for made in runs), strict=True)
    for step, (one, plain, exact) in enumerate(results, 1):
        for name, value in one.items():
            if step in judged and value.is_floating_point():
                assert_as_accurate(f"{name} after {step}", value, plain[name], exact[name])


def test_a_table_of_another_task_is_refused() -> None:
    made, table = agent("fused"), synthetic_table().to(DEVICE)
    made.update(table, 0)
    assert isinstance(made.do, TritonUpdate)
    # Rows of one width: only the sizes of their fields tell the two tasks apart.
    with pytest.raises(UserError, match="observations of 2 numbers and actions of 4, the agent"):
        made.update(dataclasses.replace(table, observation_dim=2, action_dim=4), 1)


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("maximum", [1.0, 1.25])
def test_the_largest_weight_is_that_of_the_settings(maximum: float, beside: bool) -> None:
    config = dataclasses.replace(CONFIG, eta=(3.0,), weight_maximum=maximum)
    made = GTP(config, Setup(3, 2, (3, 5), DEVICE, "fused", launches=Launches(actor_beside=beside)))
    metrics = made.update(synthetic_table().to(DEVICE), 0)
    assert isinstance(made.do, TritonUpdate)
    largest = metrics[made.metric_names.index("weight_max")]
    assert largest.tolist() == pytest.approx([maximum] * 2)


@pytest.mark.parametrize("weight", ["gap", "nodes"])
def test_the_weights_of_both_losses_reach_the_kernels(weight: str) -> None:
    shares = (0.3, 2.0, 0.0, 1.0, 0.5, 3.0)
    config = dataclasses.replace(CONFIG, eta=(1.0,), consistency_weight=weight, lambda_flow=shares)
    forms = (("fused", torch.float32), ("reference", torch.float32), ("reference", torch.float64))
    runs = [GTP(config, Setup(3, 2, range(6), DEVICE, *form)) for form in forms]
    for made in runs:
        made.prepare(10)
    one, plain, exact = (next(states(made, 1)) for made in runs)
    assert isinstance(runs[0].do, TritonUpdate)
    for name in ("metrics", "actor.adam_first"):
        assert_as_accurate(name, one[name], plain[name], exact[name])


def test_without_a_critic_the_whole_update_is_that_of_single_operations() -> None:
    config = dataclasses.replace(CONFIG, eta=(1.0,), advantage_start=None)
    forms = (("fused", torch.float32), ("reference", torch.float32), ("reference", torch.float64))
    runs = [GTP(config, Setup(3, 2, range(6), DEVICE, *form)) for form in forms]
    for made in runs:
        made.prepare(10)
        made.advance(0, synthetic_table())
    assert isinstance(runs[0].do, TritonUpdate)
    for one, plain, exact in zip(*(states(made, 2) for made in runs), strict=True):
        metrics = dict(zip(runs[0].metric_names, one["metrics"].T, strict=True))
        assert set(metrics["weight"].tolist()) == {1.0} == set(metrics["weight_max"].tolist())
        assert not metrics["critic_loss"].any() and not metrics["q"].any()
        for name in ("metrics", "actor.adam_first", "actor.adam_second"):
            assert_as_accurate(name, one[name], plain[name], exact[name])


def test_times_are_drawn_by_the_law_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    config, drawn = dataclasses.replace(CONFIG, eta=(1.0,), t_law="lognormal"), []
    made, draw = GTP(config, Setup(3, 2, (3,), DEVICE, "fused")), batch.batch_launch

    def noted(*arguments: Any, **options: Any) -> Any:
        found = draw(*arguments, **options)
        drawn.append(found[0])
        return found

    monkeypatch.setattr(begin, "batch_launch", noted)
    made.update(synthetic_table().to(DEVICE), 0)
    n_t, _, _ = reference.draw_times(made.keys, 0, config.batch_size, 11, cdf=made.cdf)
    assert torch.equal(drawn[0].perturbed.row_fields[0], made.nodes[n_t])


def test_a_seed_trained_among_others_equals_that_seed_alone() -> None:
    runs = (agent("auto"), agent("auto", pick=slice(1, 2)))
    for together, alone in zip(*(states(x, 2) for x in runs), strict=True):
        for name, value in together.items():
            assert torch.equal(value[1:], alone[name]), name


def recorded(made: GTP, piece: int, total: int, record: Callable[..., object]) -> engine.Watch:
    watch, table = engine.Watch(made), synthetic_table().to(DEVICE)
    captured = Captured(made, table, watch, record, lambda work: work(), piece)
    engine.run(captured, made, 0, total, (), lambda done: None, lambda: 0)
    return watch


class Again:
    """A recording that does its work anew, as a CUDA graph would."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.replay = work


def test_recorded_pieces_take_the_steps_of_single_calls_and_sum_their_metrics() -> None:
    one, other = (agent("fused", pick=slice(0, 1)) for _ in range(2))
    watch = recorded(one, 2, 5, Again)
    table = synthetic_table().to(DEVICE)
    rows = [other.update(table, k) for k in range(5)]
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    total = functools.reduce(torch.add, rows)
    assert torch.equal(watch.total, total) and watch.count == 5


def test_a_diverging_seed_stays_and_is_reported_while_the_others_go_on() -> None:
    config = dataclasses.replace(CONFIG, eta=(1.0,), learning_rate=(3e-3, 1e30))
    made = GTP(config, Setup(3, 2, (3, 5), DEVICE, "fused"))
    made.prepare(10)
    table, watch, kept = synthetic_table().to(DEVICE), engine.Watch(made), []
    for step in range(3):
        watch.add(made.update(table, step), step)
        kept.append(made.actor.parameters.flat.clone())
    (one,) = watch.diverged()
    assert one.seed == 5 and 0 < one.step < 3
    assert torch.equal(kept[-1][1], kept[one.step][1]) and kept[-1][1].isfinite().all()
    alone = GTP(
        dataclasses.replace(config, learning_rate=(3e-3,)), Setup(3, 2, (3,), DEVICE, "fused")
    )
    alone.prepare(10)
    for step in range(3):
        alone.update(table, step)
    assert torch.equal(kept[-1][0], alone.actor.parameters.flat[0])


def test_a_resumed_run_takes_the_same_steps() -> None:
    whole, first, second = (agent("fused", pick=slice(0, 1)) for _ in range(3))
    table = synthetic_table().to(DEVICE)
    for step in range(2):
        whole.update(table, step)
        (first if step < 1 else second).update(table, step)
        if step == 0:
            second.load_state_dict({name: x.clone() for name, x in first.state_dict().items()})
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


@pytest.mark.parametrize(
    ("seeds", "precision"), [((3,), "fp32"), ((3, 5), "fp32"), ((3,), "tf32"), ((3,), "bf16")]
)
def test_an_update_is_11_nodes(
    monkeypatch: pytest.MonkeyPatch, seeds: tuple[int, ...], precision: str
) -> None:
    made = GTP(
        dataclasses.replace(CONFIG, eta=(1.0,), cosine_decay=True),
        Setup(3, 2, seeds, DEVICE, precision=precision),
    )
    made.prepare(10)
    table = synthetic_table().to(DEVICE)
    made.advance(1, table)
    watch, step = engine.Watch(made), torch.tensor(1, device=DEVICE)
    with counted(monkeypatch, precision) as nodes:
        made.update_into(watch.totals, table, step)
    assert nodes == [
        "triton begin._begin_kernel",
        "triton mlp_pair._pair_kernel",
        "triton actor_backward._actor_kernel",
        "cuda sampler sample",
        "triton mlp_pair._pair_kernel",
        "triton critic_backward._critic_kernel",
        "triton mlp_weights._weights_kernel",
        "triton step._step_kernel",
        "triton mlp_pair._pair_kernel",
        "triton actor_gradients._gradients_kernel",
        "triton step._step_kernel",
    ]


@pytest.mark.parametrize("settings", [{"objective": "flow"}, {"huber": True}])
def test_what_the_whole_update_does_not_cover_is_done_by_single_operations(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    made = GTP(dataclasses.replace(CONFIG, **{"eta": (1.0,)} | settings), Setup(3, 2, (3,), DEVICE))
    made.advance(1, synthetic_table())
    assert not isinstance(made.do, TritonUpdate)
    with counted(monkeypatch) as nodes:
        made.update(synthetic_table().to(DEVICE), 1)
    assert "triton mlp._mlp_kernel" in nodes


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_the_precision_of_a_run_reaches_every_product(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    def updated(wanted: str) -> tuple[Tensor, set[str]]:
        setup = Setup(3, 2, (3,), DEVICE, "fused", precision=wanted)
        made = GTP(dataclasses.replace(CONFIG, eta=(1.0,)), setup)
        made.prepare(10)
        seen = set()
        multiplied = tiling.tiles

        def noted(*arguments: Any, **options: Any) -> Any:
            found = multiplied(*arguments, **options)
            seen.add(found.options["PRECISION"])
            return found

        for module in (mlp_pair, mlp_backward):
            monkeypatch.setattr(module, "tiles", noted)
        made.update(synthetic_table().to(DEVICE), 1)
        monkeypatch.undo()
        return made.actor.parameters.gradient.clone(), seen

    full, seen = updated("fp32")
    assert seen == {"fp32"}
    rounded, seen = updated(precision)
    assert seen == {precision}
    close = torch.allclose(rounded, full, rtol=0, atol=0.05 * float(full.abs().max()))
    assert close and not torch.equal(rounded, full)
