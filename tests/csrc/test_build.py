"""The build: its switches, and the registers of the CUDA kernels; `.ci/wheel` tries a wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
NEEDED = ("cmake", "ninja", "pybind11")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
checkout = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="needs the checkout")
tools = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} installed")


def configure(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    import cmake
    import ninja
    import pybind11

    command = [
        str(Path(cmake.CMAKE_BIN_DIR) / "cmake"),
        *("-S", str(ROOT / "csrc"), "-B", str(folder), "-G", "Ninja"),
        f"-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR) / 'ninja'}",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        *options,
    ]
    return subprocess.run(command, capture_output=True, text=True)


def build(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run setup.py with its library below folder/lib and its build folder in folder/temp."""
    folders = ("--build-lib", str(folder / "lib"), "--build-temp", str(folder / "temp"))
    return subprocess.run(
        [sys.executable, "setup.py", "build_ext", *folders],
        cwd=ROOT,
        env={**os.environ, "GTP_FAST_CUDA": "off", **variables},
        capture_output=True,
        text=True,
    )


@checkout
@tools
def test_cuda_on_without_nvcc_is_an_error(tmp_path: Path) -> None:
    result = configure(tmp_path, "-DGTP_FAST_CUDA=on", "-DNVCC=OFF")
    assert result.returncode != 0
    assert "GTP_FAST_CUDA=on, but no nvcc was found" in " ".join(result.stderr.split())


@checkout
@tools
def test_cuda_auto_without_nvcc_builds_for_the_cpu(tmp_path: Path) -> None:
    result = configure(tmp_path, "-DGTP_FAST_CUDA=auto", "-DGPU=/dev/nvidia0", "-DNVCC=OFF")
    assert result.returncode == 0, result.stderr
    assert "no nvcc was found" in result.stdout
    assert "cuda/sampler" not in (tmp_path / "build.ninja").read_text()


@checkout
@tools
def test_cuda_auto_without_a_gpu_compiles_no_architecture(tmp_path: Path) -> None:
    result = configure(tmp_path, "-DGTP_FAST_CUDA=auto", "-DGPU=")
    assert result.returncode == 0, result.stderr
    rules = (tmp_path / "build.ninja").read_text()
    assert "cuda/sampler" not in rules
    # The reason is one definition of the compiler, which a semicolon would cut in two.
    (reason,) = set(re.findall(r"-DGTP_FAST_CUDA_REASON=(.*?) -D", rules))
    assert reason.replace("\\", "").strip('"').startswith("no GPU was found")
    assert reason.replace("\\", "").rstrip('"').endswith("was not on")


@checkout
@tools
def test_each_instruction_set_has_an_object_of_its_own(tmp_path: Path) -> None:
    assert configure(tmp_path, "-DGTP_FAST_CUDA=off").returncode == 0
    rules = (tmp_path / "build.ninja").read_text().split("\n\n")
    sets: dict[str, list[str]] = {}
    for rule in rules:
        found = re.search(r"^build (\S+\.o):.*?^  FLAGS = (.*?)$", rule, re.M | re.S)
        if found is None:
            continue
        name, options = found.groups()
        (isa,) = re.findall(r"-DGTP_ISA=(\w+)", rule) or [""]
        sets[isa] = [*sets.get(isa, []), Path(name).name]
        assert ("cpu/isa/" in name) == bool(isa), name
        assert "-march=native" not in options and "-ffast-math" not in options
        assert ("-mavx" in options) == isa.startswith("avx"), name
        for feature in ("vnni", "bf16"):
            assert (f"-mavx512{feature}" in options) == (isa == f"avx512{feature}"), name
    assert sets["portable"] == ["sampler.cpp.o", "mlp.cpp.o"]
    assert all("sampler.cpp.o" in names for isa, names in sets.items() if isa)


@checkout
@tools
def test_an_unknown_switch_is_refused_in_one_sentence(tmp_path: Path) -> None:
    result = build(tmp_path, GTP_FAST_CUDA="maybe")
    assert result.returncode != 0
    assert "GTP_FAST_CUDA must be auto, on or off, not 'maybe'" in result.stderr
    assert "Traceback" not in result.stderr


@checkout
@tools
def test_a_build_folder_from_elsewhere_is_begun_again(tmp_path: Path) -> None:
    cache = tmp_path / "temp" / "native" / "CMakeCache.txt"
    cache.parent.mkdir(parents=True)
    places = "CMAKE_CACHEFILE_DIR:INTERNAL=/elsewhere\nCMAKE_HOME_DIRECTORY:INTERNAL=/elsewhere\n"
    cache.write_text(places)
    # Without a compiler cmake ends where it would begin to work.
    result = build(tmp_path, CXX="/no/such/compiler")
    assert result.returncode != 0 and "/no/such/compiler" in result.stderr
    assert "different than the directory" not in result.stderr


@checkout
def test_a_module_that_is_gone_stays_out_of_the_next_wheel(tmp_path: Path) -> None:
    # Setuptools keeps its folder, build/lib, from one wheel to the next.
    gone = tmp_path / "gtp_fast" / "gone.py"
    gone.parent.mkdir()
    gone.touch()
    command = [sys.executable, "setup.py", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / "gtp_fast" / "train.py").exists() and not gone.exists()


@checkout
def test_a_build_beside_the_sources_leaves_them(tmp_path: Path) -> None:
    for name in ("setup.py", "gtp_fast/__init__.py", "kernels/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "setup.py", "build_py", "--build-lib", "."]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "gtp_fast" / "__init__.py").exists()


@checkout
@tools
def test_a_loaded_library_is_replaced_and_not_rewritten(tmp_path: Path) -> None:
    name = f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    target, fake = tmp_path / "lib" / "gtp_fast" / name, tmp_path / "fake"
    for path in (target, fake / "cmake"):
        path.parent.mkdir(parents=True)
    target.write_text("old")
    # Stands in for cmake: its build is one file.
    script = f'#!/bin/sh\n[ "$1" != --build ] || printf new > "$2/{name}"\n'
    (fake / "cmake").write_text(script)
    (fake / "cmake").chmod(0o755)
    (tmp_path / "cmake.py").write_text(f"CMAKE_BIN_DIR = {str(fake)!r}\n")
    with target.open() as loaded:
        result = build(tmp_path, PYTHONPATH=str(tmp_path))
        assert result.returncode == 0, result.stderr
        assert (loaded.read(), target.read_text()) == ("old", "new")
    assert [path.name for path in target.parent.iterdir()] == [name]


@checkout
def test_the_source_distribution_holds_every_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from setuptools.command.egg_info import FileList

    if not (ROOT / ".git").exists():
        pytest.skip("needs git to say which files there are")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    )
    tracked = listed.stdout.splitlines()
    monkeypatch.chdir(ROOT)
    chosen = FileList()
    chosen.set_allfiles(tracked)
    for line in (ROOT / "MANIFEST.in").read_text().splitlines():
        chosen.process_template_line(line)
    # Setuptools adds these by itself.
    own = {"MANIFEST.in", "pyproject.toml", "setup.py"}
    own |= {name for name in tracked if re.fullmatch(r"gtp_fast/.*\.py", name)}
    assert len(tracked) > 500 and sorted(set(tracked) - set(chosen.files) - own) == []


@checkout
def test_the_cuda_kernels_of_the_module_spill_nothing() -> None:
    native = pytest.importorskip("gtp_fast._native")
    if not native.cuda:
        pytest.skip(f"no CUDA kernels: {native.cuda_reason}")
    from benchmarks import resources

    # A spilled register lies on the stack. The module's own code is read, for each architecture.
    text = resources.report([Path(native.__file__)], Path(os.devnull))
    kernels = [line for line in text.splitlines() if "_kernel" in line]
    expected = {f"sm_{name}" for name in native.cuda_architectures.split()}
    assert {line.split()[0] for line in kernels} == expected, text
    critics = [line.split()[0] for line in kernels if "critics_kernel" in line]
    assert sorted(critics) == sorted(x for x in expected if int(x.removeprefix("sm_")) >= 90), text
    for line in kernels:
        assert " STACK:0 " in line and " LOCAL:0" in line, line
