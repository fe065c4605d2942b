"""Builds gtp_fast._native with cmake and ninja, and maps kernels/ to gtp_fast.kernels."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


def tool(package: str, folder: str) -> str:
    """Find a build tool, that of its Python package first: it is the one this build asked for."""
    try:
        candidate = Path(getattr(importlib.import_module(package), folder)) / package
        if candidate.exists():
            return str(candidate)
    except (ImportError, AttributeError):
        pass
    found = shutil.which(package)
    if found is None:
        raise SystemExit(f"gtp_fast: {package} is missing; mend it with: pip install {package}")
    return found


def moved(build: Path) -> bool:
    """Return whether a build folder was configured at another place, which cmake refuses."""
    cache = build / "CMakeCache.txt"
    if not cache.exists():
        return False
    lines = cache.read_text(errors="replace").splitlines()
    places = {"CMAKE_CACHEFILE_DIR": build, "CMAKE_HOME_DIRECTORY": ROOT / "csrc"}
    return any(f"{name}:INTERNAL={path.as_posix()}" not in lines for name, path in places.items())


class CMakeBuild(build_ext):
    """Configures csrc/ with cmake and builds it with ninja."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        cuda = os.environ.get("GTP_FAST_CUDA", "auto").lower()
        if cuda not in ("auto", "on", "off"):
            raise SystemExit(f"gtp_fast: GTP_FAST_CUDA must be auto, on or off, not {cuda!r}")
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build = Path(self.build_temp).resolve() / "native"
        if moved(build):
            shutil.rmtree(build)
        build.mkdir(parents=True, exist_ok=True)
        cmake = tool("cmake", "CMAKE_BIN_DIR")
        configure = [
            cmake,
            "-S", str(ROOT / "csrc"),
            "-B", str(build),
            "-G", "Ninja",
            f"-DCMAKE_MAKE_PROGRAM={tool('ninja', 'BIN_DIR')}",
            f"-DCMAKE_BUILD_TYPE={'Debug' if self.debug else 'Release'}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DGTP_FAST_CUDA={cuda}",
        ]  # fmt: skip
        try:
            subprocess.run(configure, check=True)
            subprocess.run([cmake, "--build", str(build)], check=True)
        except subprocess.CalledProcessError as error:
            raise SystemExit(
                "gtp_fast: the native module could not be built; the compiler's message is above "
                "(GTP_FAST_CUDA=off builds the part for the CPU alone)"
            ) from error
        target.parent.mkdir(parents=True, exist_ok=True)
        # A process that has the old file loaded keeps it: rewritten in place, it would crash.
        new = target.with_name(f".{target.name}.new")
        shutil.copy2(build / target.name, new)
        new.replace(target)


class FreshBuild(build_py):
    """Copies the modules into an empty folder: one that is gone would stay in every wheel."""

    def run(self) -> None:
        # Built beside the sources, that folder is theirs.
        if not self.editable_mode and Path(self.build_lib).resolve() != ROOT:
            shutil.rmtree(Path(self.build_lib) / "gtp_fast", ignore_errors=True)
        super().run()


setup(
    license="MIT",
    packages=[*find_packages(include=["gtp_fast", "gtp_fast.*"]), "gtp_fast.kernels"],
    package_dir={"gtp_fast": "gtp_fast", "gtp_fast.kernels": "kernels"},
    ext_modules=[Extension("gtp_fast._native", sources=[])],
    cmdclass={"build_ext": CMakeBuild, "build_py": FreshBuild},
    zip_safe=False,
)
