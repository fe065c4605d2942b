"""The CPU sampler for 64-bit ARM, cross-compiled and run by an emulator where both are at hand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from folded import FORMS, Folded, Form, Sizes
from on_arrays import OnArrays, instruction_sets
from tolerance import assert_as_accurate

from gtp_fast import reference

SOURCES = Path(__file__).parents[2] / "csrc"
FLAGS = ["-std=c++17", "-O2", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
PRECISIONS = ("fp32", "tf32", "bf16", "int8")
FILES = ("cpu/sampler", "cpu/team", "cpu/dispatch", "policy", "emulation/sample")
OBJECTS = (("sampler", "portable"), ("sampler", "neon"), ("mlp", "portable"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the sampler's program for ARM."""
    compiler = shutil.which("aarch64-linux-gnu-g++")
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if compiler is None or emulator is None or not SOURCES.is_dir():
        pytest.skip("needs aarch64-linux-gnu-g++, qemu-aarch64-static and the checkout's csrc")
    folder = tmp_path_factory.mktemp("arm")
    command = [compiler, *FLAGS, "-Wall", "-Werror", "-I."]
    files = [f"{name}.cpp" for name in FILES]
    for source, isa in OBJECTS:
        files.append(str(folder / f"{source}_{isa}.o"))
        options = (f"-DGTP_ISA={isa}", "-c", f"cpu/isa/{source}.cpp", "-o", files[-1])
        subprocess.run([*command, *options], cwd=SOURCES, check=True)
    binary = str(folder / "sample")
    command = [*command, "-static", "-pthread", "-o", binary]
    subprocess.run([*command, *files], cwd=SOURCES, check=True)
    return [emulator, binary]


def run(program: list[str], policy: Folded, rows: int, precision: str = "fp32") -> np.ndarray:
    """Return the actions that the emulated program works out."""
    observation, noise, out = policy.inputs(rows)
    form = policy.form
    kind, products = ("mish", "relu", "gelu").index(form.activation), PRECISIONS.index(precision)
    flags = form.clamp, form.stochastic, form.squash
    numbers = [*policy.sizes.tuple(), kind, *flags, products, rows]
    parts = [np.array(numbers, np.int32), np.float32(policy.initial_scale), policy.flat()]
    fed = b"".join(part.tobytes() for part in (*parts, observation, noise))
    done = subprocess.run(program, input=fed, capture_output=True, check=True)
    assert done.stderr.decode() == "neon"
    return np.frombuffer(done.stdout, np.float32).reshape(out.shape)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("form", [Form(), *FORMS], ids=str)
def test_neon_gives_the_bits_of_every_fused_multiply_add(
    program: list[str], form: Form, precision: str
) -> None:
    fused = [isa for isa in instruction_sets() if isa != "portable"]
    for sizes, rows in ((Sizes(S=2, A=9, H=70, K=3), 26), (Sizes(K=2), 1)):
        policy = Folded(sizes, form=form)
        observation, noise, out = policy.inputs(rows)
        got = run(program, policy, rows, precision)
        if precision == "fp32":
            exact, plain = policy.exact(observation, noise), policy.plain(observation, noise)
            assert_as_accurate(f"neon {sizes} {form}", got, plain, exact)
        for isa in fused:
            OnArrays(policy, isa, precision).sample(observation, noise, out)
            assert np.array_equal(got, out), isa


def test_neon_with_bf16_weights(program: list[str]) -> None:
    policy = Folded(Sizes(A=3, H=70, K=3))
    observation, noise, _ = policy.inputs(14)
    got = run(program, policy, 14, "bf16")
    rounded = policy.policy().rounded()
    policy.hidden = [w.numpy() for w in rounded.hidden_weights]
    exact = policy.exact(observation, noise)
    plain = reference.folded_sample(rounded, torch.tensor(observation), torch.tensor(noise))
    assert_as_accurate("neon, bf16 weights", got, plain, exact)


def test_neon_with_int8_weights(program: list[str]) -> None:
    policy = Folded(Sizes(A=3, H=70, K=2))
    observation, noise, _ = policy.inputs(1000)
    got = run(program, policy, 1000, "int8")
    assert_as_accurate("neon, int8 weights", got, *policy.int8(observation, noise))
