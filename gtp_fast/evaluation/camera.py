"""An environment that records its episodes as videos, and what that needs of a machine."""

from __future__ import annotations

import copy
import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import RecordVideo

from gtp_fast.errors import UserError, first_line
from gtp_fast.evaluation.vector import make, name_of

RENDERERS = ("egl", "osmesa")
"""MuJoCo's ways to draw without a screen, the faster one first."""
_TRY = (
    "import mujoco; context = mujoco.GLContext(8, 8); context.make_current(); "
    "mujoco.MjrContext(mujoco.MjModel.from_xml_string('<mujoco/>'), 150)"
)
_SECONDS = 60


class _Camera(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Says in a sentence why an environment cannot be drawn."""

    def render(self) -> Any:
        try:
            return self.env.render()
        # Graphics libraries raise whatever they like.
        except Exception as error:
            raise UserError(
                f"{name_of(self.env)} cannot be drawn on this machine ({first_line(error)}): "
                "install EGL (libegl1) or OSMesa (libosmesa6), or leave --video out."
            ) from error


def prepare() -> None:
    """Choose how MuJoCo draws, unless MUJOCO_GL says it; UserError where moviepy is missing.

    Call it before MuJoCo is loaded, which reads the variable once.
    """
    if importlib.util.find_spec("moviepy") is None:
        raise UserError("Videos need moviepy: pip install 'gtp_fast[video]', or leave --video out.")
    if "MUJOCO_GL" in os.environ or importlib.util.find_spec("mujoco") is None:
        return
    found = next(filter(works, RENDERERS), None)
    if found is not None:
        os.environ["MUJOCO_GL"] = found


def works(renderer: str) -> bool:
    """Whether MuJoCo can draw by a renderer; tried in a process that may fail."""
    environment = os.environ | {"MUJOCO_GL": renderer, "PYOPENGL_PLATFORM": renderer}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRY], env=environment, capture_output=True, timeout=_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def recorded(spec: EnvSpec, folder: Path) -> gymnasium.Env[Any, Any]:
    """Build an environment that writes its episodes as FOLDER/all-episode-<number>.mp4.

    Closing it writes the last one. UserError where it cannot be drawn.
    """
    spec = copy.deepcopy(spec)
    spec.kwargs["render_mode"] = "rgb_array"
    built = make(spec)
    if built.render_mode != "rgb_array":
        built.close()
        raise UserError(f"{name_of(spec)} draws no pictures: evaluate it without --video.")
    _follow(built)
    with warnings.catch_warnings():
        # It warns of a folder that is there already.
        warnings.simplefilter("ignore")
        return RecordVideo(
            _Camera(built), str(folder), episode_trigger=lambda _: True, name_prefix="all"
        )


def _follow(built: gymnasium.Env[Any, Any]) -> None:
    """Let MuJoCo's camera follow the robot, where Gymnasium would leave it standing.

    Gymnasium 1.4 takes a free camera, out of which walkers run, even where the model has one that
    is called `track` or the environment names the body to follow.
    """
    inner: Any = built.unwrapped
    if hasattr(inner, "ant_env") and hasattr(inner, "maze"):
        _look_down(inner.ant_env.mujoco_renderer, inner.maze)
        return
    renderer: Any = getattr(inner, "mujoco_renderer", None)
    if renderer is None or getattr(renderer, "camera_id", None) != -1:
        return
    import mujoco

    config = renderer.default_cam_config or {}
    camera = mujoco.mj_name2id(renderer.model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
    if camera != -1:
        renderer.camera_id = camera
    elif "trackbodyid" in config:
        # Without a number the viewer keeps the kind of camera that its settings name.
        renderer.camera_id = None
        tracking = mujoco.mjtCamera.mjCAMERA_TRACKING
        renderer.default_cam_config = {**config, "type": tracking}


def _look_down(renderer: Any, maze: Any) -> None:
    """Show a whole ant maze from above: behind the ant its walls would hide it."""
    renderer.camera_id = -1
    size = maze.maze_size_scaling * max(maze.map_length, maze.map_width)
    renderer.default_cam_config = {
        "lookat": np.zeros(3), "distance": 1.25 * size, "elevation": -70.0, "azimuth": 90.0,
    }  # fmt: skip
