"""What the K-step sampler is measured against: the network as first written, and ONNX Runtime."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.workload import Unavailable
from gtp_fast import reference
from gtp_fast.networks import FlowMapNetwork
from gtp_fast.networks.parameters import Parameters, initialise
from gtp_fast.reference import FoldedPolicy, philox

Activation = Callable[[Tensor], Tensor]
Pieces = Tensor | Sequence[Tensor]
OBSERVATIONS, ACTIONS, WIDTH, DEPTH = 29, 8, 256, 3


class FirstWritten(nn.Module):
    """Eq. 15 as one would first write it.

    In each of K steps: both time embeddings, one concatenated input, the whole network.

    """

    def __init__(self, steps: int, device: torch.device, mish: Activation = reference.mish):
        super().__init__()

        def mlp(
            x: Pieces, weights: Sequence[Tensor], biases: Sequence[Tensor], *_: str, **__: object
        ) -> Tensor:
            h = reference.join(x, weights[0].shape[0])
            for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
                h = mish(torch.baddbmm(bias[:, None], h, weight))
            return torch.baddbmm(biases[-1][:, None], h, weights[-1])

        self.network = FlowMapNetwork(OBSERVATIONS, ACTIONS, WIDTH, DEPTH, mlp)
        parameters = Parameters(1, self.network.shapes(), torch.device("cpu"), torch.float32)
        initialise(parameters, philox.key_tensor([0]), (0,))
        self.views = {name: view.detach().to(device) for name, view in parameters.views.items()}
        self.times = reference.sampling_times(steps, dtype=torch.float64)
        self.grid = self.times.to(device, torch.float32)

    def forward(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Map observation [1, B, O] and noise [1, B, A] to actions [1, B, A]."""

        def phi(a: Tensor, t: Tensor, tau: Tensor) -> Tensor:
            skip, out, scale = reference.precondition(t, "edm")
            levels = torch.stack([reference.noise_level(x, 0.002) for x in (t, tau)])
            levels = levels.expand(*a.shape[:2], 2)
            return skip * a + out * self.network(self.views, scale * a, levels, observation)

        return reference.sample(phi, noise, self.grid)

    def folded(self) -> FoldedPolicy:
        """Return the same policy with its constants folded."""
        return self.network.fold(
            self.views, tuple(self.times.tolist()), kind="edm", sigma_data=0.5, t_min=0.002
        )


class Folded(nn.Module):
    """The folded loop as a module of its own, for export."""

    def __init__(self, policy: FoldedPolicy):
        super().__init__()
        self.policy = policy

    def forward(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Map observation [1, B, O] and noise [1, B, A] to actions [1, B, A]."""
        return reference.folded_sample(self.policy, observation, noise)


def onnx_runtime(
    policy: FoldedPolicy, observation: Tensor, noise: Tensor, threads: int
) -> Callable[[], Tensor]:
    """Return a call of ONNX Runtime on the exported loop of K steps; raises Unavailable."""
    if observation.device.type != "cpu":
        raise Unavailable("ONNX Runtime is measured on the CPU alone")
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise Unavailable(f"{error}; mend it with: pip install 'gtp_fast[bench]'") from error
    file = io.BytesIO()
    torch.onnx.export(
        Folded(policy), (observation, noise), file, input_names=["observation", "noise"],
        output_names=["action"], opset_version=18, dynamo=False,
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    fed = {"observation": observation.numpy(), "noise": noise.numpy()}
    return lambda: torch.from_numpy(session.run(None, fed)[0])


def products_alone(policy: FoldedPolicy, batch: int) -> tuple[Callable[[], Tensor], Tensor]:
    """Return a function of the products of K steps alone, and its result in float64.

    It calls torch.mm for each product and returns the last one.

    """
    steps = policy.k
    once, each = policy.first_observation[0], [policy.first_action[0]]
    each += [weight[0] for weight in policy.hidden_weights] + [policy.last_weight[0]]
    inputs = {w.shape[0]: torch.randn(batch, w.shape[0], device=w.device) for w in (once, *each)}
    outs = {w.shape[1]: torch.empty(batch, w.shape[1], device=w.device) for w in (once, *each)}

    def run() -> Tensor:
        for weight in (once, *each * steps):
            out = torch.mm(inputs[weight.shape[0]], weight, out=outs[weight.shape[1]])
        return out

    return run, inputs[each[-1].shape[0]].double() @ each[-1].double()
