"""Every kernel, compiled without a GPU as its launcher would launch it, needs little."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton")
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
pytestmark = [
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") == "1",
        reason="compiles only where the interpreter is off",
    ),
    pytest.mark.skipif(not CUOBJDUMP.exists(), reason="this Triton ships no cuobjdump"),
]

CAPABILITIES = (80, 90, 100)
# Of shared memory for one block, by the programming guide.
SHARED_LIMIT = {80: 163 * 1024, 89: 99 * 1024, 90: 227 * 1024, 100: 227 * 1024, 120: 99 * 1024}
# On the device, as a captured graph has them.
COUNT, STEP = torch.tensor(41, dtype=torch.int32), torch.tensor(7)
TYPES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.uint8: "*u8",
}
SHAPES = [
    (1, torch.float32),
    (6, torch.bfloat16),
    (17, torch.float32),
    (64, torch.bfloat16),
]


class Recorder:
    """Stands in for a kernel and keeps what its launcher passed."""

    def __init__(self) -> None:
        self.launches: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *args, **options: self.launches.append((args, options))


def described(
    value: Any, path: tuple[int, ...], specialized: bool, constants: dict, attributes: dict
) -> Any:
    """Return the type of an argument; note by its path the facts that Triton takes of a value."""
    if isinstance(value, tuple):
        parts = [
            described(x, (*path, i), specialized, constants, attributes)
            for i, x in enumerate(value)
        ]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    tensor = isinstance(value, torch.Tensor)
    if value is None or (not tensor and value == 1 and specialized):
        # As at a launch, where Triton takes None and a 1 for constants.
        constants[path] = value
        return "constexpr"
    # As at a launch, where loads may be wide if pointers and strides are aligned.
    if value.data_ptr() % 16 == 0 if tensor else specialized and value % 16 == 0:
        attributes[path] = [["tt.divisibility", 16]]
    return TYPES[value.dtype] if tensor else "i32"


def built(kernel: Any, given: Mapping[str, Any], capability: int, folder: Path) -> tuple[str, str]:
    """Return (PTX, resource usage) of a kernel; given: arguments and options by name."""
    constants, signature, attributes = {}, {}, {}
    for i, (key, of) in enumerate(zip(kernel.arg_names, kernel.params, strict=True)):
        if of.is_constexpr:
            signature[key], constants[key] = "constexpr", given[key]
        else:
            specialized = not of.do_not_specialize
            signature[key] = described(given[key], (i,), specialized, constants, attributes)
    result = triton.compile(
        ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes),
        target=GPUTarget("cuda", capability, 32),
        options={key: value for key, value in given.items() if key not in kernel.arg_names},
    )
    assert result.metadata.shared <= SHARED_LIMIT[capability]
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(result.asm["cubin"])
    dump = [str(CUOBJDUMP), "--dump-resource-usage", str(cubin)]
    usage = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    return result.asm["ptx"], usage


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Return a function (module, kernel name, launch, capability) -> (PTX, resource usage)."""

    def build(
        module: Any, name: str, launch: Callable[[], object], capability: int
    ) -> tuple[str, str]:
        from gtp_fast.kernels import tiling

        kernel = getattr(module, name)
        monkeypatch.setattr(tiling, "capability", lambda device: capability)
        for other in [x for x in vars(module) if x.endswith("_kernel")]:
            monkeypatch.setattr(module, other, Recorder())
        launch()
        ((args, options),) = getattr(module, name).launches  # one launch, no more
        monkeypatch.undo()
        given = dict(zip(kernel.arg_names, args, strict=False)) | options
        return built(kernel, given, capability, tmp_path)

    return build


def assert_lean(ptx: str, usage: str) -> None:
    ((registers, stack, local),) = re.findall(r"REG:(\d+) STACK:(\d+) .*?LOCAL:(\d+)", usage)
    assert (stack, local) == ("0", "0"), f"spills or local memory: {usage}"
    assert 0 < int(registers) <= 255
    assert ".f64" not in ptx, "a constant has drawn the arithmetic into float64"
    # Sums by atomics change their order, and with it their bits, from run to run.
    assert not re.search(r"\b(atom|red)\.", ptx)


def launch_perturb(
    A: int,
    dtype: torch.dtype,
    u_mode: str = "adjacent",
    kind: str = "edm",
    B: int = 256,
    count: int | torch.Tensor = COUNT,
    step: int | torch.Tensor = STEP,
    cdf: torch.Tensor | None = None,
    weight: str = "none",
) -> Callable[[], object]:
    from gtp_fast.kernels.perturb import perturb

    a, nodes, keys = torch.zeros(2, B, A), torch.zeros(1281), torch.zeros(2, dtype=torch.int64)
    return lambda: perturb(
        a, nodes, count, keys, step, u_mode=u_mode, kind=kind, dtype=dtype, cdf=cdf,
        consistency_weight=weight,
    )  # fmt: skip


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("cdf", [None, torch.zeros(1281).long()], ids=["uniform", "cdf"])
@pytest.mark.parametrize(("A", "dtype"), SHAPES)
def test_perturb_compiles_lean(
    compiled: Callable[..., tuple[str, str]],
    A: int,
    dtype: torch.dtype,
    capability: int,
    cdf: torch.Tensor | None,
) -> None:
    from gtp_fast.kernels import perturb

    launch = launch_perturb(A, dtype, cdf=cdf)
    assert_lean(*compiled(perturb, "_perturb_kernel", launch, capability))


@pytest.mark.parametrize(("B", "kind", "weight"), [(256, "cm", "gap"), (1, "none", "nodes")])
def test_perturb_compiles_lean_in_its_other_modes(
    compiled: Callable[..., tuple[str, str]], B: int, kind: str, weight: str
) -> None:
    from gtp_fast.kernels import perturb

    mode = {"B": B, "count": 11, "step": 1, "weight": weight}
    launch = launch_perturb(8, torch.float32, "uniform", kind, **mode)
    assert_lean(*compiled(perturb, "_perturb_kernel", launch, 90))


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize(("B", "A", "dtype"), [(1, 1, torch.float32), *((256, *s) for s in SHAPES)])
def test_loss_compiles_lean(
    compiled: Callable[..., tuple[str, str]], B: int, A: int, dtype: torch.dtype, capability: int
) -> None:
    from gtp_fast.kernels import loss

    networks = torch.zeros(2, 2 * B, A, dtype=dtype), torch.zeros(2, B, A, dtype=dtype)
    actions, rows = torch.zeros(2, B, A), torch.zeros(2, B)

    def launch() -> object:
        return loss.flow_map_loss(*networks, *(actions,) * 3, *(rows,) * 7)

    assert_lean(*compiled(loss, "_loss_kernel", launch, capability))
