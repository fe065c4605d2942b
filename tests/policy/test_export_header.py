"""policy.gtp and its readers: the same policy back, the same bits in C++, and no spoilt file."""

from __future__ import annotations

import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import packed_policies
import pytest
import torch
from folded import FORMS, Form, Sizes
from numpy.typing import NDArray
from packed_policies import make, write
from tolerance import assert_as_accurate

from gtp_fast import ops
from gtp_fast.data import box
from gtp_fast.errors import UserError
from gtp_fast.export.programs import Program
from gtp_fast.policy import Policy, file, load
from gtp_fast.policy.file import Packed
from gtp_fast.system import native

FILES = Path(file.__file__).parents[1] / "export" / "files"
SMALL = Sizes(O=11, A=3, H=20, L=3, K=2)
COMPILER = shutil.which("g++")
Rows = NDArray[np.float32]
Run = Callable[..., tuple[Rows, Rows]]

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs g++")


def fuses() -> bool:
    """Whether this machine has fused multiply-add, which the native sampler then uses."""
    return native.available() and native.module().isa() != "portable"


def compiled(folder: Path, *flags: str) -> Path:
    program = folder / "driver"
    source = Path(__file__).parents[1] / "support" / "header_driver.cpp"
    strict = "-std=c++17 -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror"
    command = [COMPILER or "", *flags, *strict.split(), f"-I{FILES}", str(source)]
    subprocess.run([*command, "-o", str(program)], check=True)
    return program


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # No -ffp-contract: the header itself must keep the compiler from fusing more than it writes.
    return compiled(tmp_path_factory.mktemp("fused"), "-O3", "-march=native")


@pytest.fixture(scope="module")
def unfused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    flags = ("-mno-fma", "-mno-avx") if fuses() and "avx" in native.module().isa() else ()
    return compiled(tmp_path_factory.mktemp("unfused"), "-O2", *flags)


def inputs(content: Packed, rows: int) -> tuple[Rows, Rows]:
    draw = np.random.default_rng(rows)
    policy = content.policy
    observation = draw.standard_normal((rows, policy.first_observation.shape[1]), np.float32)
    observation[3:4] *= 300  # beyond the limits of the exponential
    shape = (policy.draws, rows, policy.first_action.shape[1])
    return observation, draw.standard_normal(shape, np.float32)


def run(program: Path, folder: Path, content: Packed, rows: int, seed: int, step: int) -> Rows:
    """Return the actions of the C++ reader [2, rows, A]: by counter, and by the noise given."""
    observation, noise = inputs(content, rows)
    head = np.array([rows, step], np.uint32).tobytes() + np.array([seed], np.uint64).tobytes()
    (folder / "in").write_bytes(head + observation.tobytes() + noise.tobytes())
    command = [program, write(content, folder), folder / "in", folder / "out"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return np.fromfile(folder / "out", np.float32).reshape(2, rows, -1)


def wanted(content: Packed, rows: int, seed: int, step: int) -> Rows:
    """Return the same of Python."""
    observation, noise = inputs(content, rows)
    given = torch.from_numpy(noise if len(noise) > 1 else noise[0])
    sampled = ops.make_sampler(content.policy).sample(
        torch.from_numpy(observation)[None], given[None]
    )
    half, middle = box.scale(content.low, content.high)
    acted = Policy(content).act(observation, seed=seed, step=step)
    return np.stack([acted, sampled[0].numpy() * half + middle])


@pytest.mark.parametrize("form", [Form(), *FORMS], ids=str)
def test_a_policy_comes_back_from_its_file_bit_for_bit(form: Form, tmp_path: Path) -> None:
    content = make(SMALL, form)
    back = file.read(write(content, tmp_path))
    assert torch.equal(back.policy.flatten(), content.policy.flatten())
    for name in ("initial_scale", "activation", "clamp", "squash"):
        assert getattr(back.policy, name) == getattr(content.policy, name)
    assert np.array_equal([back.low, back.high], [content.low, content.high])
    assert back.description == content.description
    assert file.pack(back) == file.pack(content)


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("clamp", [False, True])
def test_files_from_before_there_was_squash_mean_what_they_meant(clamp: bool, squash: bool) -> None:
    data = file.pack(make(SMALL, Form(clamp=clamp, squash=squash)))
    assert int.from_bytes(data[40:44], "little") == clamp + 2 * squash
    assert file.unpack(data).policy.squash == squash


@needs_compiler
@pytest.mark.skipif(not fuses(), reason="needs the native sampler and fused multiply-add")
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize(
    ("sizes", "form"),
    [(Sizes(O=o, A=a, H=40, L=3, K=2), Form()) for a in (1, 3, 8, 17) for o in (11, 29)]
    + [(Sizes(O=29, A=8, H=256, L=3, K=k), Form()) for k in (1, 2, 5)]
    + [(Sizes(O=11, A=3, H=100, L=n, K=3), Form()) for n in (1, 2, 4)]
    + [(Sizes(O=11, A=3, H=64, L=3, K=k), form) for form in FORMS for k in (1, 5)],
    ids=str,
)
def test_the_header_has_the_bits_of_python(
    driver: Path, tmp_path: Path, sizes: Sizes, form: Form, rows: int
) -> None:
    content = make(sizes, form)
    found = run(driver, tmp_path, content, rows, seed=2**63 + 5, step=2**32 - 1)
    expected = wanted(content, rows, seed=2**63 + 5, step=2**32 - 1)
    assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))
    assert (np.abs(expected - 0.1) < np.abs(content.high - 0.1)).any(), "all actions are clipped"


@needs_compiler
@pytest.mark.skipif(not fuses(), reason="needs the native sampler and fused multiply-add")
def test_the_header_scales_to_a_box_as_python_does(driver: Path, tmp_path: Path) -> None:
    for content in (make(SMALL, unit=True), make(SMALL)):
        found, expected = run(driver, tmp_path, content, 5, 3, 0), wanted(content, 5, 3, 0)
        assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))


@needs_compiler
@pytest.mark.parametrize("form", [Form(), *FORMS], ids=str)
def test_without_fused_multiply_add_the_header_is_as_accurate_as_pytorch(
    unfused: Path, tmp_path: Path, form: Form
) -> None:
    content = make(SMALL, form)
    observation, noise = inputs(content, 63)
    given = noise if len(noise) > 1 else noise[0]
    exact, plain = (
        Program(content, dtype)(*(torch.from_numpy(x).to(dtype) for x in (observation, given)))
        for dtype in (torch.float64, torch.float32)
    )
    found = run(unfused, tmp_path, content, 63, 1, 1)[1]
    assert_as_accurate(f"header without fma, {form}", found, plain, exact)


@needs_compiler
@pytest.mark.parametrize("form", [Form(), *FORMS], ids=str)
def test_a_nan_observed_never_becomes_an_action(
    driver: Path, tmp_path: Path, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = make(SMALL, form)
    observation, noise = inputs(content, 2)
    monkeypatch.setattr(f"{__name__}.inputs", lambda *_: (observation, noise))
    assert np.isfinite(run(driver, tmp_path, content, 2, 1, 1)).all()
    observation[1, 4] = np.nan
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(driver, tmp_path, content, 2, 1, 1)
    assert caught.value.stderr.startswith("the action is not finite: the observation holds NaN")


@needs_compiler
@pytest.mark.parametrize(
    "flags",
    [
        ("-ffast-math",),
        ("-ffinite-math-only",),
        ("-funsafe-math-optimizations",),
        ("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"),
        ("-freciprocal-math",),
        # What MSVC defines under /fp:fast.
        ("-D_M_FP_FAST=1",),
    ],
    ids=lambda flags: flags[0],
)
def test_arithmetic_that_drops_nan_or_changes_bits_is_refused(flags: tuple[str, ...]) -> None:
    # Under -ffinite-math-only a NaN observed became an action; other parts move the bits.
    command = [COMPILER or "", "-O1", *flags, "-std=c++17", "-fsyntax-only", "-xc++"]
    done = subprocess.run(
        [*command, str(FILES / "gtp_policy.hpp")], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "gtp_policy.hpp: -ffast-math" in done.stderr


SPOILT = packed_policies.damaged(file.pack(make(SMALL)))


@pytest.mark.parametrize("name", SPOILT)
def test_python_refuses_a_spoilt_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.gtp"
    path.write_bytes(SPOILT[name][0])
    for reader in (file.read, load):
        with pytest.raises(
            UserError, match=rf"policy.gtp ({SPOILT[name][1]}).*: export the policy"
        ):
            reader(path)


@needs_compiler
@pytest.mark.parametrize("name", SPOILT)
def test_the_header_refuses_a_spoilt_file(driver: Path, name: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.gtp"
    path.write_bytes(SPOILT[name][0])
    done = subprocess.run([driver, path, path, path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    # Word for word what Python says.
    with pytest.raises(UserError) as caught:
        file.read(path)
    said = str(caught.value).replace("this gtp_fast reads", "this reader knows")
    assert done.stderr.strip() + "." == said.replace("this gtp_fast does", "this reader does")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.gtp cannot be read \(No such file"):
        load(tmp_path / "none.gtp")


def test_a_policy_that_is_not_finite_is_refused() -> None:
    content = make(SMALL)
    content.policy.last_bias[0, 0] = float("nan")
    with pytest.raises(UserError, match="NaN or infinite"):
        file.pack(content)


def large(size: float) -> Packed:
    """Return a policy with weights of a size, in alternating signs."""
    data = file.pack(make(SMALL))
    at, weights = packed_policies.huge(data, size)
    body = data[:at] + weights + data[at + len(weights) : -4]
    return file.unpack(body + zlib.crc32(body).to_bytes(4, "little"))


def test_a_policy_with_actions_that_overflow_is_refused_on_writing() -> None:
    content = make(SMALL)
    for weights in (*content.policy.hidden_weights, content.policy.last_weight):
        weights[:, ::2], weights[:, 1::2] = 1e38, -1e38
    with pytest.raises(UserError, match="actions overflow: export another checkpoint"):
        file.pack(content)


def test_large_weights_that_act_are_read(tmp_path: Path) -> None:
    content = large(1e3)
    assert np.isfinite(load(write(content, tmp_path)).act(np.ones(11), seed=1)).all()


@needs_compiler
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_an_observation_that_overflows_gives_no_action(
    driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    content = large(1e3)
    far = np.float32(3e37) * (-1) ** np.arange(11, dtype=np.float32)
    policy = load(write(content, tmp_path), backend=backend)
    batch = np.stack((np.zeros_like(far), far))
    for given in (far, far.astype(np.float64), far[None], batch, torch.from_numpy(far)):
        with pytest.raises(UserError, match="action is not finite: the observation is far"):
            policy.act(given, seed=1)
    _, noise = inputs(content, 1)
    monkeypatch.setattr(f"{__name__}.inputs", lambda *_: (far[None], noise))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(driver, tmp_path, content, 1, 1, 1)
    assert "the action is not finite" in caught.value.stderr


def test_the_options_of_a_run_are_refused_for_a_file(tmp_path: Path) -> None:
    path = write(make(SMALL), tmp_path)
    assert load(path).k == 2
    with pytest.raises(UserError, match="chosen when it is exported"):
        load(path, k=1)


@pytest.mark.parametrize("seed", range(20))
def test_no_action_leaves_the_box(seed: int) -> None:
    low, high = np.sort(np.random.default_rng(seed).uniform(-3, 3, (2, 50)).astype(np.float32), 0)
    half, middle = box.scale(low, high)
    assert (middle + half <= high).all() and (middle - half >= low).all()
    np.testing.assert_allclose(half, (high - low) / 2, rtol=0, atol=1e-6)
