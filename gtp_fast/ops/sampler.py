"""The K-step sampler (eq. 15): plain PyTorch, C++ on a CPU, CUDA on a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.ops import sampling
from gtp_fast.ops.precision import check_sampler, checked
from gtp_fast.ops.sampling import Rows
from gtp_fast.reference import FoldedPolicy
from gtp_fast.system import native


class ReferenceSampler:
    """`reference.folded_sample` behind the interface, on any device."""

    def __init__(self, policy: FoldedPolicy, precision: str = "fp32"):
        self.draws, self.precision = policy.draws, checked(precision)
        self.fit = sampling.fit_of(policy, self.draws)
        self.load(policy)

    def load(self, policy: FoldedPolicy) -> None:
        """Take new weights."""
        self.lowered = self.precision in ("bf16", "int8")
        self.policy = policy.rounded(self.precision) if self.lowered else policy

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Map observation [S, B, O] and noise to actions [S, B, A]."""
        self.fit.check(observation, noise)
        rows = (self.policy, observation, noise)
        with torch.no_grad():
            if self.precision == "int8":
                return reference.folded_sample(*rows, reference.int8_inputs)
            return reference.folded_sample(*rows)

    def act(self, observation: Rows, out: Rows, seed: int, step: int) -> None:
        """Write the actions of one policy for observation [B, O] into out [B, A]."""
        sampling.act_through_torch(self, self.policy.first_action, observation, out, seed, step)

    def action(self, observation: Rows, seed: int, step: int) -> Rows | None:
        """Return the action of one observation."""
        return sampling.action_through_act(
            self, self.policy.last_bias.shape[-1], observation, seed, step
        )

    def describe(self) -> str:
        """Name the implementation."""
        return "reference PyTorch" + (f", {self.precision} weights" if self.lowered else "")


class NativeSampler:
    """The sampler of csrc: every step of every row in one call, or in one CUDA launch.

    precision: what matrix products read (`precision.PRECISIONS`); tf32 is a GPU's alone, int8
    a CPU's.
    """

    def __init__(self, policy: FoldedPolicy, precision: str = "fp32"):
        self.weight = policy.first_action
        self.on_gpu = self.weight.device.type == "cuda"
        self.sizes, self.form = _sizes(policy), _form(policy)
        module = native.module()
        kind = module.CudaSampler if self.on_gpu else module.Sampler
        self.draws, self.precision = policy.draws, check_sampler(precision, self.on_gpu)
        try:
            self.native = kind(
                *self.sizes, policy.activation, policy.clamp, self.draws > 1, policy.squash,
                precision,
            )  # fmt: skip
        except ValueError as error:
            raise UserError(f"The native sampler cannot be had: {error}.") from error
        self.fit = sampling.fit_of(policy, self.draws)
        self.threads = torch.get_num_threads()
        # One action is one call, with no frame of Python between.
        self.action = self._action if self.on_gpu else self.native.action
        self.load(policy)

    def load(self, policy: FoldedPolicy) -> None:
        """Pack new weights of the same shapes and form in place; UserError for others."""
        if (new := (_sizes(policy), _form(policy))) != (self.sizes, self.form):
            raise UserError(
                "This sampler was made for a policy of S, O, A, H, layers, K = "
                f"{self.sizes} and activation, clamp, squash = {self.form}, not {new[0]} and "
                f"{new[1]}: make a new sampler."
            )
        # Kept alive: on a GPU the copy may still be under way when this returns.
        self.flat = self._own(policy.flatten(), "policy")
        self.native.load(
            self.flat.data_ptr(), self.flat.numel(), policy.initial_scale, *self._stream()
        )

    def padded(self) -> tuple[tuple[int, int], int]:
        """Return the lengths of rows of hidden width and of actions in what `take` reads, and how
        many numbers that is.
        """
        seeds, observation, action, width, depth, steps = self.sizes
        wide, rows = self.native.padded if self.on_gpu else (width, action)
        policy = (action + observation + steps + (depth - 1) * (width + 1)) * wide
        return (wide, rows), seeds * (policy + (width + 1) * rows) + 7 * steps

    def take(self, flat: Tensor, initial_scale: float, rows: int) -> None:
        """Take the weights of a policy that was laid out as `padded` says, for batches of `rows`.

        On a GPU they are read where they are, so they must stay there.
        """
        self.flat = self._own(flat, "laid out policy")
        if self.on_gpu:
            self.native.take(flat.data_ptr(), flat.numel(), initial_scale, rows, *self._stream())
        else:
            self.native.load(flat.data_ptr(), flat.numel(), initial_scale)

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Map observation [S, B, O] and noise to actions [S, B, A]; noise is [S, B, A], or
        [S, draws, B, A] where draws > 1. UserError for other shapes, dtypes and devices.
        """
        self.fit.check(observation, noise)
        observation = self._own(observation.contiguous(), "observation")
        noise = self._own(noise.contiguous(), "noise")
        out = noise.new_empty((*observation.shape[:2], noise.shape[-1]))
        pointers = (observation.data_ptr(), noise.data_ptr(), out.data_ptr(), out.shape[1])
        if self.on_gpu:
            self.native.sample(*pointers, *self._stream())
        else:
            self.native.sample(*pointers, self.threads)
        return out

    def act(self, observation: Rows, out: Rows, seed: int, step: int) -> None:
        """Write the actions of one policy for observation [B, O] into out [B, A]."""
        if self.on_gpu:
            sampling.act_through_torch(self, self.weight, observation, out, seed, step)
        else:
            self.native.act(observation, out, seed, step, self.threads)

    def _action(self, observation: Rows, seed: int, step: int) -> Rows | None:
        return sampling.action_through_act(self, self.weight.shape[1], observation, seed, step)

    def describe(self) -> str:
        """Name the implementation; on a GPU also the kernels that it takes for some batches."""
        if self.on_gpu:
            kernels = (f"batch {b}: {self.kernel(b)}" for b in (1, 256, 16384))
            return f"native CUDA; {'; '.join(kernels)}"
        weights = f", {self.precision} weights" if self.precision != "fp32" else ""
        return f"native {self.native.isa}{weights}"

    def kernel(self, batch: int) -> str:
        """Name the CUDA kernel that serves a batch, in words."""
        words: str = self.native.describe(batch)
        return words

    def _own(self, x: Tensor, name: str) -> Tensor:
        """Return what is read by its address; UserError unless the native part can."""
        if x.dtype != torch.float32 or x.device != self.weight.device or not x.is_contiguous():
            rows = "contiguous" if x.is_contiguous() else "non-contiguous"
            raise UserError(
                f"The {name} is {rows} {x.dtype} on {x.device}: the native sampler reads "
                f"contiguous torch.float32 on {self.weight.device}."
            )
        return x

    def _stream(self) -> tuple[int, ...]:
        return (torch.cuda.current_stream(self.weight.device).cuda_stream,) if self.on_gpu else ()


def _sizes(policy: FoldedPolicy) -> tuple[int, ...]:
    """Return S, O, A, H, the number of hidden layers, and K."""
    seeds, observation_dim, width = policy.first_observation.shape
    layers, steps = len(policy.hidden_weights) + 1, policy.c_in.shape[0]
    return seeds, observation_dim, policy.first_action.shape[1], width, layers, steps


def _form(policy: FoldedPolicy) -> tuple[str, bool, bool]:
    return policy.activation, policy.clamp, policy.squash


FORMS: dict[str, Callable[..., sampling.Sampler]] = {
    "reference": ReferenceSampler,
    "native": NativeSampler,
}
