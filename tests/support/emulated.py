"""The CUDA sampler compiled for the host: its very source, its kernels run fiber by fiber."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch
from folded import Folded
from rounded import RoundedProducts
from tolerance import assert_as_accurate

from gtp_fast import reference

SOURCES = Path(__file__).parents[2] / "csrc"
PATHS = ("latency", "throughput", "cluster", "tensor", "columns", "pair", "counted")
PRECISIONS = ("fp32", "tf32", "bf16")
PLANS = [
    *(("latency", rows, "fp32") for rows in (1, 2, 4)),
    *(("columns", rows, "fp32") for rows in (4, 8, 16)),
    *(("pair", rows, "fp32") for rows in (8, 16)),
    *(("throughput", rows, "fp32") for rows in (8, 16, 32, 64)),
    *(("cluster", rows, "fp32") for rows in (1, 4, 16)),
    *(("cluster", 16, precision) for precision in ("tf32", "bf16")),
    ("counted", 16, "bf16"),
    *(("tensor", rows, p) for rows in (16, 32, 64, 128) for p in ("tf32", "bf16")),
]
"""Every kernel: path, rows of its tile, precision."""
STATUS = {1: "threads wait for others, or write behind their shared memory", 2: "no such kernel"}


def missing() -> str:
    """Return why the emulation cannot be built, or an empty string."""
    if _compiler() is None or not (SOURCES / "emulation").is_dir():
        return "needs a C++ compiler and the checkout's csrc/emulation"
    return ""


def build(folder: Path) -> ctypes.CDLL:
    """Compile the emulation into a folder and load it."""
    library = folder / "emulate.so"
    # Fibers jump from stack to stack, which glibc's hardened longjmp takes for an error.
    options = ["-std=c++17", "-O1", "-shared", "-fPIC", "-Wno-unknown-pragmas", "-U_FORTIFY_SOURCE"]
    options += ["-I.", "-Iemulation/runtime"]
    sources = ["emulation/emulate.cpp", "cuda/plan.cpp", "policy.cpp"]
    command = [str(_compiler()), *options, "-o", str(library), *sources]
    subprocess.run(command, cwd=SOURCES, check=True)
    return ctypes.CDLL(str(library))


def run(
    library: ctypes.CDLL, policy: Folded, path: str, rows_of_plan: int, precision: str, rows: int
) -> np.ndarray:
    """Return the actions of `Folded.inputs(rows)`, by one kernel."""
    sizes = policy.sizes
    observation, noise, out = policy.inputs(rows)
    weights = _aligned(policy.flat(-(-sizes.H // 4) * 4, -(-sizes.A // 4) * 4))
    pointer = [ctypes.c_void_p(x.ctypes.data) for x in (weights, observation, noise, out)]
    status = library.gtp_emulate(
        PATHS.index(path), rows_of_plan, PRECISIONS.index(precision), _shape(policy), pointer[0],
        ctypes.c_float(policy.initial_scale), *pointer[1:], rows,
    )  # fmt: skip
    assert status == 0, STATUS[status]
    return out


def pack(library: ctypes.CDLL, policy: Folded, precision: str, weights: torch.Tensor) -> np.ndarray:
    """Return the bytes of weights as tensor cores read them; weights: as `take` reads a policy."""
    given = PRECISIONS.index(precision), _shape(policy), ctypes.c_void_p(weights.data_ptr())
    library.gtp_pack.restype = ctypes.c_int64
    units = np.zeros(library.gtp_pack(*given, None) // 16 + 1, np.complex128)
    count = library.gtp_pack(*given, ctypes.c_void_p(units.ctypes.data))
    return units.view(np.uint8)[:count]


def run_whole(
    library: ctypes.CDLL, policy: Folded, precision: str, rows: int, card: tuple[int, int, int],
    number: int = -1,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """Return the actions of `Folded.inputs(rows)` and the number of plans, by the host's side too.

    card: multiprocessors, bytes of shared memory for a block, capability (90 for 9.0); number: of a
    plan, -1 for the one that is chosen.
    """
    observation, noise, out = policy.inputs(rows)
    weights, text = _aligned(policy.flat()), ctypes.create_string_buffer(200)
    pointer = [ctypes.c_void_p(x.ctypes.data) for x in (weights, observation, noise, out)]
    plans = library.gtp_sample(
        (ctypes.c_int * 3)(*card), PRECISIONS.index(precision), _shape(policy), pointer[0],
        ctypes.c_float(policy.initial_scale), *pointer[1:], ctypes.c_int64(rows), number, text,
    )  # fmt: skip
    assert plans > 0, text.value.decode()
    return out, plans


def run_taken(
    library: ctypes.CDLL, policy: Folded, precision: str, inputs: tuple[np.ndarray, np.ndarray],
    weights: tuple[np.ndarray, np.ndarray, np.ndarray], card: tuple[int, int, int],
    number: int = -1,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """Return actions [3, S, B, A] and the number of plans; card, number: as in `run_whole`.

    The actions are those of one sampler: on weights laid out and packed, on the former alone, which
    it packs, and on the flat policy. weights: these three; inputs: observation, noise; policy:
    gives its sizes, form and initial scale.
    """
    padded, units, flat = (_aligned(x.view(np.float32)) for x in weights)
    out, text = np.full((3, *inputs[1].shape), np.nan, np.float32), ctypes.create_string_buffer(200)
    pointer = [ctypes.c_void_p(x.ctypes.data) for x in (padded, units, flat, *inputs, out)]
    plans = library.gtp_take(
        (ctypes.c_int * 3)(*card), PRECISIONS.index(precision), _shape(policy), *pointer[:3],
        ctypes.c_float(policy.initial_scale), *pointer[3:], ctypes.c_int64(inputs[0].shape[1]),
        number, text,
    )  # fmt: skip
    assert plans > 0, text.value.decode()
    return out, plans


def check(
    library: ctypes.CDLL, policy: Folded, path: str, rows_of_plan: int, precision: str, rows: int
) -> None:
    """Hold one kernel to the comparison rule, against plain PyTorch at the same precision."""
    out = run(library, policy, path, rows_of_plan, precision, rows)
    observation, noise, _ = policy.inputs(rows)
    name = f"{path} {rows_of_plan} {precision} {policy.sizes} {policy.form}"
    assert_as_accurate(
        name, out, plain(policy, observation, noise, precision), policy.exact(observation, noise)
    )


def plain(policy: Folded, observation: np.ndarray, noise: np.ndarray, precision: str) -> np.ndarray:
    """Return the reference's actions with the operands of its products rounded."""
    inputs = torch.tensor(observation), torch.tensor(noise)
    with RoundedProducts(precision) as mode:
        result = reference.folded_sample(policy.policy(), *inputs)
    sizes = policy.sizes
    assert mode.products == 1 + sizes.K * (1 + sizes.L), "not every product was rounded"
    return result.numpy()


def choose(
    library: ctypes.CDLL, policy: Folded, precision: str, rows: int, device: tuple[int, int, int]
) -> tuple[str, int, str]:
    """Return path, rows and words of the choice for a batch on a device of so many
    multiprocessors, bytes of shared memory a block, and clusters at once.
    """
    chosen, text = (ctypes.c_int * 3)(), ctypes.create_string_buffer(200)
    library.gtp_choose(
        *device, PRECISIONS.index(precision), _shape(policy), ctypes.c_int64(rows), chosen, text
    )
    assert chosen[2], "the kernel chosen does not fit the device"
    return PATHS[chosen[0]], chosen[1], text.value.decode()


def _compiler() -> str | None:
    return shutil.which("c++") or shutil.which("g++")


def _shape(policy: Folded) -> ctypes.Array:
    form = policy.form
    kind = ("mish", "relu", "gelu").index(form.activation)
    return (ctypes.c_int * 10)(
        *policy.sizes.tuple(), kind, form.clamp, form.stochastic, form.squash
    )


def _aligned(x: np.ndarray) -> np.ndarray:
    """Copy to where loads of four floats may go, as the device's buffer does."""
    room = np.empty(x.size + 4, np.float32)
    room = room[(-room.ctypes.data // 4) % 4 :][: x.size]
    room[:] = x
    return room
