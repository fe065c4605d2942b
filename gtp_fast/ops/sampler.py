"""The K-step sampler (eq. 15): plain PyTorch, C++ on a CPU, CUDA on a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.ops.limits import Beyond, beyond
from gtp_fast.ops.precision import check_reference_sampler, check_sampler
from gtp_fast.ops.sampling import ActsBySampling, Rows, Sampler, fit_of
from gtp_fast.reference import FoldedPolicy
from gtp_fast.system import native


class ReferenceSampler(ActsBySampling):
    """`reference.folded_sample` behind the interface, on any device."""

    def __init__(self, policy: FoldedPolicy, precision: str = "fp32"):
        self.draws, self.precision = policy.draws, check_reference_sampler(precision)
        self.fit, self.like = fit_of(policy), policy.first_action
        self.kind = _Kind(policy)
        self.rounds = precision in ("bf16", "int8")
        self.load(policy)

    def load(self, policy: FoldedPolicy) -> None:
        """Take new weights of the same shapes and form; UserError for others."""
        self.kind.check(policy)
        self.policy = policy.rounded(self.precision) if self.rounds else policy

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Map observation [S, B, O] and noise to actions [S, B, A]."""
        self.fit.check(observation, noise)
        rows = (self.policy, observation, noise)
        with torch.no_grad():
            if self.precision == "int8":
                return reference.folded_sample(*rows, reference.int8_inputs)
            return reference.folded_sample(*rows)

    def describe(self) -> str:
        """Name the implementation."""
        return "reference PyTorch" + (f", {self.precision} weights" if self.rounds else "")


class NativeSampler(ActsBySampling):
    """The sampler of csrc: all steps of all rows in one call or CUDA launch.

    precision: what matrix products read (`ops.precision.PRECISIONS`).
    """

    def __init__(self, policy: FoldedPolicy, precision: str = "fp32"):
        self.like = policy.first_action
        self.on_gpu = self.like.device.type == "cuda"
        self.kind = _Kind(policy)
        self.sizes = self.kind.sizes
        module = native.module()
        if not self.on_gpu:
            native.check_isa(module)
        kind = module.CudaSampler if self.on_gpu else module.Sampler
        self.draws, self.precision = policy.draws, check_sampler(precision, self.on_gpu)
        try:
            # The CUDA sampler lives on the device that is current when it is made.
            with torch.cuda.device(self.like.get_device()):
                self.native = kind(
                    *self.sizes, policy.activation, policy.clamp, self.draws > 1, policy.squash,
                    precision,
                )  # fmt: skip
        except ValueError as error:
            raise Beyond(f"The native sampler is not available: {error}.") from error
        self.fit = fit_of(policy)
        self.threads = torch.get_num_threads()
        if not self.on_gpu:
            # One action is one call, with no frame of Python between.
            self.action = self.native.action  # type: ignore[method-assign]
        self.load(policy)

    def load(self, policy: FoldedPolicy) -> None:
        """Pack new weights of the same shapes and form in place; UserError for others."""
        self.kind.check(policy)
        # Held here: another thread may load while native code reads it.
        flat = self._own(policy.flatten(), "policy")
        self.native.load(flat.data_ptr(), flat.numel(), policy.initial_scale, *self._stream())
        # Kept alive: on a GPU the copy may still run when this returns.
        self.flat = flat

    def padded(self) -> tuple[tuple[int, int], int]:
        """Return the layout that `take` reads: padded hidden and action width, number of floats."""
        seeds, observation, action, width, depth, steps = self.sizes
        wide, rows = self.native.padded if self.on_gpu else (width, action)
        policy = (action + observation + steps + (depth - 1) * (width + 1)) * wide
        return (wide, rows), seeds * (policy + (width + 1) * rows) + 7 * steps

    @property
    def takes_units(self) -> bool:
        """Whether tensor cores may read weights packed by others; on a CPU nothing reads them."""
        return not self.on_gpu or self.native.packed > 0

    def take(
        self, flat: Tensor, initial_scale: float, rows: int, units: Tensor | None = None
    ) -> None:
        """Take the weights of a policy in the layout of `padded`, for batches of `rows`.

        On a GPU they are read in place: keep the tensors. units: the weights as tensor cores read
        them, so that a GPU packs none itself: bfloat16 in bf16, float32 in tf32; a CPU reads none.
        UserError for tensors of another dtype or device, or with gaps.
        """
        if units is not None:
            read = torch.bfloat16 if self.precision == "bf16" else torch.float32
            self._own(units, "packed policy", read if self.on_gpu else units.dtype)
        self.flat, self.units = self._own(flat, "laid out policy"), units
        if self.on_gpu:
            packed = (0, 0) if units is None else (units.data_ptr(), units.nbytes)
            pointers = (flat.data_ptr(), flat.numel(), initial_scale, rows)
            self.native.take(*pointers, *self._stream(), *packed)
        else:
            self.native.load(flat.data_ptr(), flat.numel(), initial_scale)

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Map observation [S, B, O] and noise to actions [S, B, A].

        noise: as `Sampler.sample` takes it. UserError for other shapes, dtypes and devices.
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
            super().act(observation, out, seed, step)
        else:
            self.native.act(observation, out, seed, step, self.threads)

    def describe(self) -> str:
        """Name the implementation; on a GPU also its kernels for some batches."""
        if self.on_gpu:
            kernels = (f"batch {b}: {self.kernel(b)}" for b in (1, 256, 16384))
            return f"native CUDA; {'; '.join(kernels)}"
        weights = f", {self.precision} weights" if self.precision != "fp32" else ""
        return f"native {self.native.isa}{weights}"

    def kernel(self, batch: int) -> str:
        """Name the CUDA kernel that serves a batch, in words."""
        words: str = self.native.describe(batch)
        return words

    def _own(self, x: Tensor, name: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return x; UserError unless native code can read it by its address."""
        if x.dtype != dtype or x.device != self.like.device or not x.is_contiguous():
            rows = "contiguous" if x.is_contiguous() else "non-contiguous"
            raise UserError(
                f"The {name} is {rows} {x.dtype} on {x.device}: the native sampler reads "
                f"contiguous {dtype} on {self.like.device}."
            )
        return x

    def _stream(self) -> tuple[int, ...]:
        return (torch.cuda.current_stream(self.like.device).cuda_stream,) if self.on_gpu else ()


def _sizes(policy: FoldedPolicy) -> tuple[int, ...]:
    """Return S, O, A, H, the number of hidden layers, and K."""
    seeds, observation_dim, width = policy.first_observation.shape
    layers, steps = len(policy.hidden_weights) + 1, policy.k
    return seeds, observation_dim, policy.first_action.shape[1], width, layers, steps


class _Kind:
    """What a policy must have in common with the one that a sampler was made for."""

    def __init__(self, policy: FoldedPolicy):
        self.sizes, self.spread = _sizes(policy), policy.schedule.spread
        self.form = self._form(policy, policy.draws > 1)

    @staticmethod
    def _form(policy: FoldedPolicy, noisy: bool) -> tuple[str, bool, bool, bool]:
        return policy.activation, policy.clamp, policy.squash, noisy

    def check(self, policy: FoldedPolicy) -> None:
        """Raise UserError unless a policy is of this kind."""
        spread, noisy = policy.schedule.spread, self.form[-1]
        # Reading the noise waits for the device; the same tensor needs no second reading.
        if spread is not self.spread:
            noisy = policy.draws > 1
        new = _sizes(policy), self._form(policy, noisy)
        if new != (self.sizes, self.form):
            raise UserError(
                f"This sampler was made for a policy of S, O, A, H, layers, K = {self.sizes} and "
                f"activation, clamp, squash, noise in each step = {self.form}, not {new[0]} and "
                f"{new[1]}: make a new sampler."
            )
        self.spread = spread


def native_sampler(
    policy: FoldedPolicy,
    precision: str = "fp32",
    strict: bool = False,
    note: Callable[[str], None] = lambda reason: None,
) -> Sampler:
    """Return the native sampler of a policy.

    Sizes beyond it go through the reference's, which is reported once, and `note` takes the reason;
    strict: they raise UserError.
    """
    try:
        return NativeSampler(policy, precision)
    except Beyond as error:
        reason = str(error.__cause__)
        beyond("the sampler", reason, strict)
        note(reason)
        return ReferenceSampler(policy, precision)


FORMS: dict[str, Callable[..., Sampler]] = {
    "reference": ReferenceSampler,
    "native": native_sampler,
}
