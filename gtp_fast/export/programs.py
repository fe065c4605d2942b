"""The K-step sampler as one program: torch.export's and ONNX's, from the reference itself."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gtp_fast import reference
from gtp_fast.data import box
from gtp_fast.errors import UserError
from gtp_fast.policy.file import Packed

Rows = NDArray[np.float32]
_MEND = "pip install 'gtp_fast[export]'"


class Program(nn.Module):
    """Maps observation [B, O] and noise to actions [B, A].

    The actions are in the environment's units; dtype: what it computes in.
    """

    def __init__(self, packed: Packed, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.policy = packed.policy.to(dtype)
        parts = box.scale(packed.low, packed.high)
        width, middle = (torch.from_numpy(part).to(dtype) for part in parts)
        self.half_width, self.middle = width, middle

    def forward(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Run all K steps."""
        action = reference.folded_sample(self.policy, observation[None], noise[None])[0]
        return action * self.half_width + self.middle


def trace(packed: Packed) -> torch.export.ExportedProgram:
    """Return the program as torch.export records it, for any batch."""
    policy, rows = packed.policy, 3
    like = policy.first_action
    noise = like.new_zeros(policy.draws, rows, like.shape[1])
    inputs = (
        like.new_zeros(rows, policy.first_observation.shape[1]),
        noise if policy.draws > 1 else noise[0],
    )
    batch = torch.export.Dim("batch")
    shapes = {"observation": {0: batch}, "noise": {inputs[1].dim() - 2: batch}}
    program = torch.export.export(Program(packed).eval(), inputs, dynamic_shapes=shapes)
    for node in program.graph.nodes:
        # It would put the paths of this machine into the files.
        node.meta.pop("stack_trace", None)
    return program


def save_pt2(packed: Packed, path: Path) -> None:
    """Write the program in torch.export's own format."""
    torch.export.save(trace(packed), path)


def run_pt2(path: Path, observation: Rows, noise: Rows) -> Rows:
    """Return the actions of a saved program."""
    # PyTorch reads no file where another default device is set.
    with torch.device("cpu"):
        module = torch.export.load(path).module()
    actions: Rows = module(torch.from_numpy(observation), torch.from_numpy(noise)).numpy()
    return actions


def onnx_missing() -> str:
    """Return the sentence that says what ONNX lacks here, or an empty string."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            return f"ONNX needs the package {name}: {_MEND}"
    return ""


def save_onnx(packed: Packed, path: Path) -> None:
    """Write the program as an ONNX file; UserError without the packages it takes."""
    if missing := onnx_missing():
        raise UserError(f"{missing}.")
    # The exporter reports its progress and its own deprecations, which are no news to a user.
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                trace(packed),
                input_names=["observation", "noise"],
                output_names=["action"],
                dynamo=True,
                external_data=False,
            )
            assert program is not None
            model = program.model_proto
    finally:
        logging.disable(level)
    import onnx

    # The exporter's notes on nodes are many times the size of a small policy.
    del model.metadata_props[:]
    graph = model.graph
    named = (*graph.input, *graph.output, *graph.initializer, *graph.value_info)
    for part in (graph, *graph.node, *named):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def run_onnx(path: Path, observation: Rows, noise: Rows) -> Rows:
    """Return the actions of an ONNX file, by onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    actions: Rows = session.run(["action"], {"observation": observation, "noise": noise})[0]
    return actions
