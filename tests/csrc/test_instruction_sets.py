"""The choice of instruction sets, for processors that this machine need not be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from native_cases import needs_native
from on_arrays import limited_to

from gtp_fast.system import native

SOURCES = Path(__file__).parents[2] / "csrc"
AVX512 = ("avx2", "avx512")

# Features; then what serves the sampler in fp32, bf16 and int8, training, and its bf16 products.
PROCESSORS = {
    "older than AVX2": ((), "portable portable portable portable none"),
    "ARM": (("neon",), "neon neon neon portable none"),
    "Haswell": (("avx2",), "avx2 avx2 avx2 avx2 none"),
    "Skylake-X": (AVX512, "avx512 avx512 avx512 avx512 none"),
    "Cascade Lake": ((*AVX512, "vnni"), "avx512 avx512 avx512vnni avx512 none"),
    "bf16 without VNNI": ((*AVX512, "bf16"), "avx512 avx512bf16 avx512 avx512 avx512"),
    "Zen 4": ((*AVX512, "vnni", "bf16"), "avx512 avx512bf16 avx512vnni avx512 avx512"),
    "Sapphire Rapids": (
        (*AVX512, "vnni", "bf16", "amx"),
        "avx512 avx512bf16 avx512vnni avx512 amx",
    ),
    "VNNI without AVX-512": (("avx2", "vnni", "bf16", "amx"), "avx2 avx2 avx2 avx2 none"),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None or not SOURCES.is_dir():
        pytest.skip("needs a C++ compiler and the checkout's csrc")
    binary = tmp_path_factory.mktemp("choose") / "choose"
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-I."]
    subprocess.run([*command, "-o", str(binary), "emulation/choose.cpp"], cwd=SOURCES, check=True)
    return binary


def chosen(program: Path, features: tuple[str, ...]) -> dict[str, str]:
    """Return the choice for each value of GTP_FAST_ISA that runs, and for none, "-"."""
    done = subprocess.run([program, *features], capture_output=True, text=True, check=True)
    return dict(line.split(": ") for line in done.stdout.splitlines())


@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_feature_is_used_by_itself(processor: str, program: Path) -> None:
    features, expected = PROCESSORS[processor]
    assert chosen(program, features)["-"] == expected


def test_a_name_limits_the_choice_to_its_features(program: Path) -> None:
    everything = PROCESSORS["Sapphire Rapids"][0]
    assert chosen(program, everything) == {
        "-": PROCESSORS["Sapphire Rapids"][1],
        "portable": PROCESSORS["older than AVX2"][1],
        "avx2": PROCESSORS["Haswell"][1],
        "avx512": PROCESSORS["Skylake-X"][1],
        "avx512vnni": PROCESSORS["Cascade Lake"][1],
        "avx512bf16": PROCESSORS["Zen 4"][1],
    }


@pytest.mark.parametrize("processor", PROCESSORS)
def test_only_names_that_run_are_offered(processor: str, program: Path) -> None:
    features, _ = PROCESSORS[processor]
    wide = {"avx512": (), "avx512vnni": ("vnni",), "avx512bf16": ("bf16",)}
    names = {name for name, needs in wide.items() if {*AVX512, *needs} <= set(features)}
    names |= {"-", "portable"} | ({"avx2", "neon"} & set(features))
    assert set(chosen(program, features)) == names


@pytest.mark.skipif(
    not native.available() or not Path("/proc/cpuinfo").exists(), reason="needs Linux on x86"
)
def test_the_module_follows_the_choice(program: Path) -> None:
    line = next(x for x in Path("/proc/cpuinfo").read_text().splitlines() if "flags" in x.lower())
    flags = set(line.split())
    if "fma" not in flags:
        pytest.skip("needs a processor with AVX2")
    words = {"avx2": "avx2", "avx512": "avx512dq", "vnni": "avx512_vnni", "bf16": "avx512_bf16"}
    features = tuple(name for name, flag in words.items() if flag in flags)
    choices = chosen(program, features)
    for name, choice in choices.items():
        with limited_to("" if name == "-" else name):
            assert native.module().isa() == (list(choices)[-1] if name == "-" else name)
            for precision, isa in zip(("fp32", "bf16", "int8"), choice.split(), strict=False):
                sampler = native.module().Sampler(1, 2, 2, 8, 1, 1, precision=precision)
                assert sampler.isa == isa, (name, precision)


CHANGED = """
import os
from gtp_fast.system import native
before, wide = native.module().isa(), os.environ.pop("GTP_FAST_ISA", "") == ""
for name in ("portable", "none such") if wide else ("", "none such"):
    os.environ["GTP_FAST_ISA"] = name
    assert native.module().isa() == before, (name, before)
print(before)
"""


@needs_native
@pytest.mark.parametrize("name", ["portable", ""])
def test_a_process_keeps_its_choice_although_the_environment_changes(name: str) -> None:
    """What was built by one instruction set, and saved by it, is not read by another."""
    kept = {key: value for key, value in os.environ.items() if key != "GTP_FAST_ISA"}
    done = subprocess.run(
        [sys.executable, "-c", CHANGED], env=kept | {"GTP_FAST_ISA": name} if name else kept,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    with limited_to(name):
        assert (done.stdout.strip(), done.stderr) == (native.module().isa(), "")


FACTS = """
from gtp_fast import cli
from gtp_fast.system import native
raise SystemExit(cli.run(lambda words: print(native.describe()), []))
"""


@needs_native
def test_an_unknown_name_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FACTS], env=os.environ | {"GTP_FAST_ISA": "sse9"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    said = "gtp_fast: The native module is not available: instruction set 'sse9' is not one of"
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1
