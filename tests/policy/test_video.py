"""Videos: the evaluation's own episodes, recorded, with one sentence where that is impossible."""

from __future__ import annotations

import errno
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_environments
import gymnasium
import numpy as np
import pytest
from fake_runs import make_run
from gymnasium.envs.registration import EnvSpec

from gtp_fast import cli, evaluate
from gtp_fast.data import environment
from gtp_fast.errors import UserError
from gtp_fast.evaluation import camera
from gtp_fast.policy import evaluation, video
from gtp_fast.policy.evaluation import Options
from gtp_fast.runs import Run

needs_moviepy = pytest.mark.skipif(
    importlib.util.find_spec("moviepy") is None, reason="moviepy is not installed"
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run on the fake environment, which draws its state as a grey picture."""
    spec = fake_environments.spec(entry="Drawn")
    return make_run(tmp_path / "run", evaluation={"environment": spec.to_json()})


@needs_moviepy
def test_videos_show_the_episodes_of_the_evaluation(run: Run, tmp_path: Path) -> None:
    options = Options(run=str(run), episodes=3, video_episodes=2, trust_environment=True)
    _, whole = evaluation.evaluate(options)
    files, seen = video.play(options, tmp_path / "videos")
    assert [path.name for path in files] == [
        f"seed{seed}-episode{i}.mp4" for seed in (4, 7) for i in (0, 1)
    ]
    assert sorted(files) == sorted((tmp_path / "videos").iterdir())
    assert all(b"ftyp" in path.read_bytes()[:16] for path in files)
    np.testing.assert_array_equal(seen.returns, whole.returns[:, :2])
    np.testing.assert_array_equal(seen.lengths, whole.lengths[:, :2])


@needs_moviepy
def test_the_command_names_its_videos(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(run), "--episodes", "2", "--trust-environment"]
    assert cli.run(evaluate.main, arguments) == 0
    plain = capsys.readouterr().out
    assert cli.run(evaluate.main, [*arguments, "--video", str(run.path / "videos")]) == 0
    said = capsys.readouterr().out
    assert said.startswith(plain), "a camera changes no figure"
    assert said.count("video: ") == 2 and "seed7-episode0.mp4" in said


def test_what_cannot_be_recorded_is_a_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="--video-episodes counts from 1"):
        video.check(0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'gtp_fast\[video\]'"):
        video.check(1)


@needs_moviepy
def test_a_picture_that_cannot_be_drawn_is_a_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any) -> None:
        raise RuntimeError("no GL here\nat all")

    monkeypatch.setattr(fake_environments.Drawn, "render", fail)
    options = Options(run=str(run), trust_environment=True)
    with pytest.raises(UserError, match=r"cannot be drawn on this machine \(no GL here\): install"):
        video.record(options, tmp_path / "videos")
    assert list((tmp_path / "videos").iterdir()) == []


def test_a_folder_that_is_full_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clip:
        def __init__(self, frames: Any, fps: float) -> None: ...

        def write_videofile(self, path: str, logger: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    name = "moviepy.video.io.ImageSequenceClip"
    for part in ("moviepy", "moviepy.video", "moviepy.video.io", name):
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    monkeypatch.setattr(sys.modules[name], "ImageSequenceClip", Clip, raising=False)
    options = Options(run=str(run), trust_environment=True)
    folder = tmp_path / "videos"
    with pytest.raises(UserError, match=rf"^{folder} could not be written \(No space left on dev"):
        video.record(options, folder)


@pytest.mark.parametrize(("working", "chosen"), [("egl", "egl"), ("osmesa", "osmesa"), ("", None)])
def test_the_first_renderer_that_works_is_taken(
    working: str, chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(camera, "works", lambda name: name == working)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    variables: dict[str, str] = {}
    monkeypatch.setattr(camera.os, "environ", variables)
    camera.prepare()
    assert variables.get("MUJOCO_GL") == chosen
    variables["MUJOCO_GL"] = "glfw"
    camera.prepare()
    assert variables["MUJOCO_GL"] == "glfw", "what the user says stays"


def test_a_renderer_that_mujoco_does_not_know_does_not_work() -> None:
    pytest.importorskip("mujoco")
    assert not camera.works("no-such-renderer")


@needs_moviepy
def test_mujoco_is_drawn_where_it_can_be(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    if not any(map(camera.works, camera.RENDERERS)):
        pytest.skip("neither EGL nor OSMesa works here")
    camera.prepare()
    recorded = camera.recorded(gymnasium.spec("InvertedPendulum-v5"), tmp_path)
    recorded.reset(seed=0)
    recorded.step(np.zeros(1))
    recorded.close()
    assert (tmp_path / "all-episode-0.mp4").stat().st_size > 500
    assert isinstance(recorded.spec, EnvSpec)


@needs_moviepy
@pytest.mark.parametrize("name", ["track", "no camera of this name"])
def test_the_camera_follows_a_walker(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the model's own camera, and by the body that the environment names."""
    pytest.importorskip("mujoco")
    if not any(map(camera.works, camera.RENDERERS)):
        pytest.skip("neither EGL nor OSMesa works here")
    camera.prepare()
    import mujoco

    real = mujoco.mj_name2id
    monkeypatch.setattr(
        mujoco, "mj_name2id", lambda *given: real(*given) if name == "track" else -1
    )
    recorded = camera.recorded(gymnasium.spec("Hopper-v5"), tmp_path)
    recorded.episode_trigger = None  # type: ignore[attr-defined]
    recorded.reset(seed=0)
    near = recorded.render()
    inner: Any = recorded.unwrapped
    position = inner.data.qpos.copy()
    position[0] = 30.0
    inner.set_state(position, inner.data.qvel)
    far = recorded.render()
    recorded.close()
    # The hopper is the only orange thing: as much of it is seen thirty metres on.
    seen = [int(((p[..., 0] > 90) & (p[..., 2] < 70)).sum()) for p in (near, far)]
    assert min(seen) > 500 and max(seen) < 2 * min(seen), seen


@needs_moviepy
def test_an_ant_maze_is_seen_as_a_whole(tmp_path: Path) -> None:
    """Ant and goal, at opposite ends of the maze, are both in the picture."""
    pytest.importorskip("gymnasium_robotics")
    if not any(map(camera.works, camera.RENDERERS)):
        pytest.skip("neither EGL nor OSMesa works here")
    camera.prepare()
    spec = environment.registered("AntMaze_UMaze-v5")
    spec.kwargs["maze_map"] = [[1] * 5, [1, "r", 0, 0, 1], [1, 1, 1, 0, 1], [1, "g", 0, 0, 1],
                               [1] * 5]  # fmt: skip
    maze = camera.recorded(spec, tmp_path)
    maze.episode_trigger = None  # type: ignore[attr-defined]
    maze.reset(seed=0)
    picture = maze.render().astype(int)  # type: ignore[union-attr]
    maze.close()
    goal = (picture[..., 0] > 150) & (picture[..., 1:].max(-1) < 60)
    assert goal.sum() > 100
