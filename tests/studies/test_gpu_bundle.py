"""Packages that a GPU machine lacks: the bundle brings some, nothing needs the others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
pytest.importorskip("pytest_benchmark")

from benchmarks import gpu_bundle, gpu_checked  # noqa: E402
from gtp_fast.errors import UserError  # noqa: E402

ABSENT = "gymnasium,gymnasium_robotics,minari,tyro,mujoco"


@pytest.mark.parametrize("absent", [ABSENT, ABSENT.removeprefix("gymnasium,")])
def test_gpu_tests_collect_without_packages_of_other_parts(absent: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "without_packages", "-p", "no:cacheprovider"]
    command += ["-q", "-m", "gpu", "--collect-only", *gpu_checked.files()]
    folders = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support")))
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "GTP_FAST_WITHOUT": absent, "PYTHONPATH": folders},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    # Those of kernels need no gymnasium, those of agents do.
    found = {Path(line.split("::")[0]).stem for line in done.stdout.splitlines() if "::" in line}
    assert {"test_native_cuda", "test_mlp_gpu", "test_mlp_triton"} <= found
    assert ("test_kernels_agent" in found) == ("gymnasium," not in absent)
    assert re.search(r"\d+/\d+ tests collected", done.stdout)


def wheels_of(folder: Path, names: tuple[str, ...]) -> list[Path]:
    paths = [folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl" for name in names]
    for path in paths:
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(f"{path.name.split('-')[0]}/__init__.py", "here = True")
    return paths


def test_a_bundle_brings_wheels_and_the_extension_that_fits(tmp_path: Path) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    package, site = tmp_path / "package", tmp_path / "site"
    package.mkdir()
    wheels = wheels_of(tmp_path, gpu_bundle.PACKAGES)
    for name, taken in ((f"_native{suffix}", True), ("_native.cpython-399-other.so", False)):
        native = tmp_path / name
        native.write_bytes(b"machine code")
        size = gpu_bundle.write(tmp_path / "b.tar.gz", native, wheels)
        assert 0 < size < gpu_bundle.LARGEST
        said = gpu_bundle.unpack(tmp_path / "b.tar.gz", site, package)
        assert (package / name).exists() is taken
        assert ("took" if taken else "another Python") in said[-1]
    assert (site / "farama_notifications" / "__init__.py").exists()


def test_a_bundle_that_is_too_large_or_lacks_something_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    native, output = tmp_path / "_native.so", tmp_path / "b.tar.gz"
    wheels = wheels_of(tmp_path, gpu_bundle.PACKAGES)
    with pytest.raises(UserError, match="name the native extension"):
        gpu_bundle.write(output, native, wheels)
    native.write_bytes(os.urandom(4000))
    with pytest.raises(UserError, match="wheels lack gymnasium: add"):
        gpu_bundle.write(output, native, [path for path in wheels if "gymnasium" not in path.name])
    monkeypatch.setattr(gpu_bundle, "LARGEST", 3000)
    with pytest.raises(UserError, match=r"would be .* MB of at most"):
        gpu_bundle.write(output, native, wheels)
    assert not output.exists()
    with pytest.raises(UserError, match="cannot be read"):
        gpu_bundle.unpack(native, tmp_path, tmp_path)


def test_the_parts_import_with_no_more_than_the_bundle_brings() -> None:
    absent = ABSENT.replace("gymnasium,", "", 1) + ",matplotlib,pyarrow"
    code = "import without_packages, benchmarks.gpu_right, benchmarks.gpu_fast, gtp_fast.agents"
    folders = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support")))
    environment = {**os.environ, "GTP_FAST_WITHOUT": absent, "PYTHONPATH": folders}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
