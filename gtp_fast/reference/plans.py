"""K-step samplers: the coefficients of their steps, and the plans of the samplers in use."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gtp_fast.reference.flow_map import jump


class StepSchedule(NamedTuple):
    """The coefficients of K steps, [K] each.

    A step takes the output F of the network, and phi of the step before it (0 at first):

        phi = skip a + out F(c_in a)
        a <- keep a + gain phi + carry phi_before + spread z

    The last step adds no noise z.
    """

    c_in: Tensor
    skip: Tensor
    out: Tensor
    keep: Tensor
    gain: Tensor
    carry: Tensor
    spread: Tensor

    @classmethod
    def of(cls, steps: int, **coefficients: Tensor | float) -> StepSchedule:
        """Return a schedule in float64 from tensors [K] or numbers, one for all steps.

        By default c_in, out and gain are 1, the others 0: phi is the network's output and the next
        a.
        """
        values = {name: float(name in ("c_in", "out", "gain")) for name in cls._fields}
        return cls(
            **{
                name: _double(value).expand(steps).contiguous()
                for name, value in (values | coefficients).items()
            }
        )

    def to(self, to: Tensor | torch.device | torch.dtype | str) -> StepSchedule:
        """Return the schedule with the dtype and device that `to` stands for in Tensor.to."""
        return StepSchedule(*(x.to(to) for x in self))


class Plan(NamedTuple):
    """A K-step sampler without its network.

    It starts at a = initial_scale z and takes the steps of the schedule.
    """

    times: Tensor
    """What the network reads of the time in each step, [K] or [K, n]; t and tau for a flow map."""
    schedule: StepSchedule
    initial_scale: float = 1.0
    clamp: bool = False
    """Whether phi is clipped to [-1, 1] in every step."""
    squash: bool = False
    """Whether phi goes through tanh in every step, before it is clipped."""
    stochastic: bool = False
    """Whether noise is added after a step."""

    @classmethod
    def of(
        cls,
        times: Tensor,
        *,
        initial_scale: float = 1.0,
        clamp: bool = False,
        squash: bool = False,
        **coefficients: Tensor | float,
    ) -> Plan:
        """Return a plan of K steps; times: [K] or [K, n]; coefficients: as `StepSchedule.of`."""
        schedule = StepSchedule.of(len(times), **coefficients)
        stochastic = bool(schedule.spread.any())
        return cls(times, schedule, initial_scale, clamp, squash, stochastic)

    @property
    def draws(self) -> int:
        """Draws of noise [A] for one action."""
        return len(self.times) if self.stochastic else 1

    def to(self, like: Tensor) -> Plan:
        """Return the plan with tensors of the dtype and device of `like`."""
        return self._replace(times=self.times.to(like), schedule=self.schedule.to(like))


def map_plan(times: Tensor) -> Plan:
    """Return the sampler of a flow map phi(a, t, tau) (eq. 15).

    times: float64 [K + 1], descending, as for every plan here.
    """
    t, tau = times[:-1], times[1:]
    keep, gain = jump(t, tau)
    return Plan.of(torch.stack((t, tau), -1), initial_scale=float(t[0]), keep=keep, gain=gain)


def euler_plan(times: Tensor) -> Plan:
    """Return Euler steps of the field (a - phi(a, t, t)) / t: DDIM."""
    t = times[:-1]
    return map_plan(times)._replace(times=torch.stack((t, t), -1))


def heun_plan(times: Tensor) -> Plan:
    """Return Heun steps of the same field.

    Each step has two evaluations, the one to time 0 a single one. The first evaluation goes to the
    Euler point, keep a + gain phi. The second one goes back to the middle of both slopes, for which
    it recomputes the point before: (a - gain phi) / keep.
    """
    t, tau = times[:-1], times[1:]
    r, q = jump(t, tau)
    half = 0.5 * (tau - t)[:-1]
    early, late = t[:-1], tau[:-1]
    before = 1 + half / early
    first = euler_plan(times)
    second = Plan.of(
        torch.stack((late, late), -1),
        keep=before / r[:-1] + half / late,
        gain=-half / late,
        carry=-before * q[:-1] / r[:-1] - half / early,
    )
    schedules = zip(first.schedule, second.schedule, strict=True)
    return first._replace(
        times=_interleaved(first.times, second.times),
        schedule=StepSchedule(*(_interleaved(one, other) for one, other in schedules)),
    )


def consistency_plan(times: Tensor) -> Plan:
    """Return a consistency model's multistep sampler: jump to time 0, add fresh noise, repeat."""
    t, tau = times[:-1], times[1:]
    pairs = torch.stack((t, torch.zeros_like(t)), -1)
    return Plan.of(pairs, initial_scale=float(t[0]), spread=tau)


def _double(value: Tensor | float) -> Tensor:
    """Return a tensor where it lies, or a number on the CPU, in float64."""
    if isinstance(value, Tensor):
        return value.to(torch.float64)
    return torch.tensor(value, dtype=torch.float64, device="cpu")


def _interleaved(first: Tensor, second: Tensor) -> Tensor:
    """Alternate the entries of `first` with those of `second`; `first` has one more."""
    return torch.cat((torch.stack((first[:-1], second), 1).flatten(0, 1), first[-1:]))
