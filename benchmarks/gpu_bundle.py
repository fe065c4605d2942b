"""python -m benchmarks.gpu_bundle: what a GPU machine without a network lacks, in one file.

It holds the native extension with its CUDA part, built for that machine's Python, and the wheels of
the packages that its image has not. `make gpu BUNDLE=file` unpacks it there.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import ROOT
from gtp_fast.errors import UserError

PACKAGES = ("gymnasium", "farama-notifications", "platformdirs")
"""What `import gtp_fast.agents` needs beyond torch, triton, NumPy, h5py, safetensors, PyYAML."""
LARGEST = 40 * 10**6
_NATIVE, _WHEELS = "native", "wheels"


def main(argv: Sequence[str]) -> int:
    """Write the bundle; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_bundle", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "gpu-bundle.tar.gz")
    parser.add_argument("--python", default="3.12", help="version on the GPU machine")
    parser.add_argument("--native", type=Path, help="the extension, by default the checkout's")
    parser.add_argument("--wheels", type=Path, help="folder of wheels, by default downloaded")
    options = parser.parse_args(argv)
    native = options.native or built(options.python)
    with tempfile.TemporaryDirectory() as scratch:
        wheels = options.wheels or downloaded(options.python, Path(scratch))
        size = write(options.output, native, sorted(wheels.glob("*.whl")))
    print(f"wrote {options.output}: {size / 1e6:.1f} MB")
    return 0


def built(python: str) -> Path:
    """Return the checkout's extension for a Python; UserError where there is none."""
    tag = "cpython-" + python.replace(".", "")
    found = sorted((ROOT / "gtp_fast").glob(f"_native.{tag}-*.so"))
    if not found:
        raise UserError(
            f"There is no native extension for Python {python} in this checkout: build it with "
            f"GTP_FAST_CUDA=on python{python} setup.py build_ext --inplace, or name one by "
            "--native."
        )
    return found[0]


def downloaded(python: str, folder: Path) -> Path:
    """Fetch the wheels of `PACKAGES` into a folder and return it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    command += [str(folder), "--only-binary=:all:", "--python-version", python, *PACKAGES]
    if subprocess.run(command).returncode:
        raise UserError(
            "The wheels cannot be downloaded; pip's message is above. Name a folder that holds "
            f"those of {', '.join(PACKAGES)} by --wheels."
        )
    return folder


def write(output: Path, native: Path, wheels: Sequence[Path]) -> int:
    """Pack the files; return the size in bytes.

    Raises UserError where it is too large or lacks a file."""
    if not native.exists():
        raise UserError(f"{native} does not exist: name the native extension by --native.")
    here = {path.name.split("-")[0].replace("_", "-").lower() for path in wheels}
    if absent := [name for name in PACKAGES if name not in here]:
        raise UserError(f"The wheels lack {', '.join(absent)}: add them to the folder.")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(output, "w:gz") as packed:
        packed.add(native, f"{_NATIVE}/{native.name}")
        for wheel in wheels:
            packed.add(wheel, f"{_WHEELS}/{wheel.name}")
    size = output.stat().st_size
    if size > LARGEST:
        output.unlink()
        raise UserError(
            f"The bundle would be {size / 1e6:.0f} MB of at most {LARGEST / 1e6:.0f}: strip the "
            "native extension, or build it for fewer architectures."
        )
    return size


def unpack(bundle: Path, site: Path, package: Path) -> list[str]:
    """Unpack wheels into `site`, and the extension that fits into `package`.

    Returns what to tell the user. UserError for a file that is no bundle.
    """
    said = []
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with tarfile.open(bundle) as packed:
                packed.extractall(scratch, filter="data")
        except (OSError, tarfile.TarError) as error:
            raise UserError(
                f"{bundle} cannot be read ({error}): make it with python -m benchmarks.gpu_bundle."
            ) from error
        for wheel in sorted((Path(scratch) / _WHEELS).glob("*.whl")):
            zipfile.ZipFile(wheel).extractall(site)
            said.append(f"unpacked {wheel.name}")
        for native in (Path(scratch) / _NATIVE).glob("_native*"):
            if native.name.endswith(str(sysconfig.get_config_var("EXT_SUFFIX"))):
                # First away with the old one: a library that is loaded must not be rewritten.
                (package / native.name).unlink(missing_ok=True)
                shutil.copy2(native, package / native.name)
                said.append(f"took {native.name}")
            else:
                said.append(f"left {native.name}: it is for another Python than this one")
    return said


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"gtp_fast: {error}", file=sys.stderr)
        sys.exit(2)
