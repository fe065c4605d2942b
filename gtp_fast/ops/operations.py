"""The operations of a run as chosen, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from gtp_fast.networks.parameters import Parameters
from gtp_fast.ops import limits, sampling
from gtp_fast.reference import Perturbation
from gtp_fast.reference.adam import Step
from gtp_fast.system import native


class Form(NamedTuple):
    """Which form of an operation runs, and why it is not a faster one."""

    name: str
    reason: str = ""


@dataclass(frozen=True)
class Operations:
    """The operations of a run, already chosen; `forms` says which and why."""

    perturb: Callable[..., Perturbation]
    loss: Callable[..., tuple[Tensor, Tensor]]
    weigh: Callable[..., tuple[Tensor, ...]]
    td_loss: Callable[..., Tensor]
    sampler: Callable[..., sampling.Sampler]
    chain: Callable[..., sampling.Sampler]
    """The sampler inside an update; on a GPU in the precision of the run."""
    mlp: Callable[..., Tensor]
    affine: Callable[..., Tensor]
    """The product that folds time into a first layer; `precision` does not round it."""
    embed: Callable[..., Tensor]
    adam: Step
    differentiate: Callable[[Parameters, Tensor], None]
    tally: Callable[..., None]
    normals: Callable[..., Tensor]
    integers: Callable[..., Tensor]
    gather: Callable[..., Iterable[Tensor]]
    precision: str
    """What the products of the networks read."""
    forms: dict[str, Form]
    beyond: dict[str, Form] = field(default_factory=dict)
    """What sizes leave to PyTorch, by operation or network, as far as it has been found out."""

    @property
    def running(self) -> dict[str, Form]:
        """What runs: the forms that were chosen, but for what is beyond their sizes."""
        return self.forms | self.beyond

    def note_sizes(
        self, networks: Mapping[str, Mapping[str, tuple[int, ...]]], actions: int
    ) -> None:
        """Note what PyTorch computes because of its size; the sampler notes itself when it is made.

        networks, actions: as `limits.of_agent` takes them.
        """
        forms = {name: form.name for name, form in self.forms.items()}
        for name, reason in limits.of_agent(forms, networks, actions).items():
            if self.forms.get(name, Form("")).name != "reference":
                self.beyond[name] = Form("reference", reason)

    def refuse_beyond(self) -> None:
        """Raise UserError where `note_sizes` found an operation that PyTorch must compute."""
        for name, form in self.beyond.items():
            limits.beyond(name, form.reason, strict=True)

    def describe(self) -> str:
        """Say in one line which form each operation has, and why no faster one."""
        groups: dict[Form, list[str]] = {}
        for name, form in self.running.items():
            groups.setdefault(form, []).append(name)
        lines = [
            f"{form.name}: {', '.join(names)}" + (f" ({form.reason})" if form.reason else "")
            for form, names in groups.items()
        ]
        if self.precision != "fp32":
            by = f" by {native.module().bf16()}" if self.forms["mlp"].name == "native" else ""
            lines.append(f"products in {self.precision}{by}")
        return "; ".join(lines)
