"""Each rival's acting policy against its sampler in Python numbers, on two states."""

from __future__ import annotations

import math

import plain_rivals as plain
import pytest
import torch
from fidelity_cases import DEPTH, STATES, build, drawn, exact, q, views

from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream


@pytest.mark.parametrize("name", ["diffusion-ql", "consistency-ac", "iql", "bc"])
@pytest.mark.parametrize("weights", ["ema", "online"])
def test_the_acting_policy_is_the_plain_sampler(name: str, weights: str) -> None:
    agent = build(name)
    sampler = agent.acting(weights).sampler
    z = drawn(agent, Stream.ACT, 2, sampler.draws)
    noise = torch.tensor(z, dtype=torch.float64).transpose(0, 1)[None]
    states = torch.tensor(STATES, dtype=torch.float64)[None]
    got = sampler.sample(states, noise if sampler.draws > 1 else noise[:, 0])[0].tolist()
    net = views(agent, "actor", average=weights == "ema")
    for s, row, action in zip(STATES, z, got, strict=True):
        if name == "diffusion-ql":
            wanted = plain.diffusion_sample(net, s, row, DEPTH, plain.VP(5))
        elif name == "consistency-ac":
            wanted = plain.consistency_sample(net, s, row, DEPTH, [80.0, 2.0])
        elif name == "iql":
            wanted = plain.squash(plain.perceptron(net, s, DEPTH, plain.relu))
        else:
            wanted = plain.clip(plain.perceptron(net, s, DEPTH, plain.relu))
        assert action == exact(wanted)
    assert agent.acting().steps == agent.folded().k


@pytest.mark.parametrize("rule", ["softmax", "argmax"])
def test_candidates_are_chosen_by_the_target_critic(rule: str) -> None:
    agent = build("consistency-ac", candidate_rule=rule)
    acting = agent.acting(num_candidates=3)
    assert (acting.steps, acting.candidates, acting.sampler.draws) == (2, 3, 7)
    picked = set()
    for trial in range(6):
        noise = philox.normals(philox.key_tensor([trial]), 0, Stream.ACT, 14, 2, torch.float64)
        noise = noise.view(1, 7, 2, 2)
        states = torch.tensor(STATES, dtype=torch.float64)[None]
        got = acting.sampler.sample(states, noise)[0].tolist()
        net = views(agent, "actor")
        for b, s in enumerate(STATES):
            rows = [noise[0, 2 * n : 2 * n + 2, b].tolist() for n in range(3)]
            actions = [plain.consistency_sample(net, s, z, DEPTH, [80.0, 2.0]) for z in rows]
            scores = [min(q(agent, twin, s, a, True) for twin in (0, 1)) for a in actions]
            powers = [math.exp(x - max(scores)) for x in scores]
            quantile = 0.5 * (1 + math.erf(float(noise[0, 6, b, 0]) / math.sqrt(2)))
            choice, total = 0, powers[0]
            while total / sum(powers) <= quantile:
                choice += 1
                total += powers[choice]
            if rule == "argmax":
                choice = scores.index(max(scores))
            assert got[b] == exact(actions[choice]), (trial, b)
            picked.add(choice)
    assert len(picked) > 1
