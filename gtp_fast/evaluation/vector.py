"""Whole episodes in a gymnasium vector environment.

A slot is one environment. It plays one episode after each reset and then rests: stepping a resting
slot costs nothing and yields nothing, so only real transitions are counted. Worker processes import
this file, so it must not import torch.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from gtp_fast.errors import UserError, first_line
from gtp_fast.system import closing, nested
from gtp_fast.system.files import temporary_files_removed

Floats = NDArray[np.float32]
Environment = EnvSpec | gymnasium.Env[Any, Any]
"""An environment to be built, or a live one."""
_OTHER_SUCCESS = "is_success"
"""Key of `info` that tells a success where `success` is not there (Gymnasium-Robotics)."""


class Moment(NamedTuple):
    """One step of n slots: observation [n, O], others [n]; success is nan if unknown."""

    observation: Floats
    reward: NDArray[np.float64]
    ended: NDArray[np.bool_]
    success: NDArray[np.float64]


class Slots(Protocol):
    """n environments that step together."""

    def reset(self, seeds: Sequence[int | None], mask: NDArray[np.bool_]) -> Floats:
        """Start an episode in each masked slot; without a seed it rests: [n, O]."""

    def step(self, actions: Floats) -> Moment:
        """Apply actions [n, A] in the environment's own units."""

    def close(self) -> None:
        """Free the environments."""


class _Resting(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Ignores steps after a reset without a seed, until one with a seed; tells successes alone.

    Gymnasium would stack whatever else `info` holds, and arrays of several lengths it cannot.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]):
        super().__init__(env)
        self._rests = False
        self._last: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self._rests = seed is None
        if self._rests and self._last is not None:
            return self._last, {}
        self._last, _ = self.env.reset(seed=seed)
        return self._last, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self._rests:
            return self._last, 0.0, False, False, {}
        self._last, reward, terminated, truncated, info = self.env.step(action)
        return self._last, reward, terminated, truncated, self._success(info)

    def _success(self, info: Mapping[str, Any]) -> dict[str, Any]:
        if "success" in info:
            told = np.asarray(info["success"], np.float64)
            if told.size != 1:
                raise UserError(
                    f"{name_of(self.env)} reports success as {told.size} numbers a step: report "
                    "one."
                )
            return {"success": told.item()}
        other = np.asarray(info.get(_OTHER_SUCCESS))
        # Of several flags, one a goal, none is the episode's.
        is_one = other.size == 1 and other.dtype.kind in "biuf"
        return {"success": float(other.item())} if is_one else {}


def make(spec: EnvSpec, checked: bool = False) -> gymnasium.Env[Any, Any]:
    """Build one environment and leave no model file, log or notice behind.

    checked: keep gymnasium's checker, which the environment's own spec then names. UserError when
    the environment cannot be built.
    """
    _log_mujoco()
    try:
        # Mazes write their model into the temporary folder and read it once.
        with temporary_files_removed(), contextlib.redirect_stderr(io.StringIO()):
            return gymnasium.make(spec, disable_env_checker=not checked)
    except ImportError as error:
        raise UserError(
            f"The environment {spec.id} cannot be built ({error}): pip install 'gtp_fast[envs]', "
            "or the package that it comes from; --env none trains without one."
        ) from error
    # A stored environment may name keywords, wrappers and versions that exist no longer.
    except Exception as error:
        raise UserError(
            f"The environment {spec.id} cannot be built ({type(error).__name__}: {error}): name "
            "another by --env, or train without one by --env none."
        ) from error


def _log_mujoco() -> None:
    """Send MuJoCo's warnings to Python's logging, unless a handler is set already."""
    try:
        # The import starts a process that asks for GLFW's version. If this one is killed
        # meanwhile, that process prints a traceback.
        with _silent():
            import mujoco
    except ImportError:
        return
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(logging.getLogger("gtp_fast.mujoco").warning)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Send what this process and those that it starts write on stderr nowhere."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class _Borrowed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that somebody else closes."""

    def close(self) -> None:
        pass


def name_of(environment: Environment) -> str:
    """Return the id of an environment, or the name of its class without one."""
    spec = environment if isinstance(environment, EnvSpec) else environment.spec
    return spec.id if spec is not None else type(environment.unwrapped).__name__  # type: ignore[union-attr]


class LocalSlots:
    """Slots in this process: one gymnasium SyncVectorEnv without auto-reset.

    environment: built `count` times from its spec, or one environment as it is, then count is 1.
    """

    def __init__(self, environment: Environment, count: int, keys: Sequence[str]):
        def build() -> gymnasium.Env[Any, Any]:
            if isinstance(environment, EnvSpec):
                return _Resting(make(environment))
            return _Resting(_Borrowed(environment))

        self._keys, self._name = tuple(keys), name_of(environment)
        self._env = SyncVectorEnv(
            [build] * count,
            copy=False,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        space = self._env.single_action_space
        if not isinstance(space, gymnasium.spaces.Box):
            raise UserError(
                f"{name_of(environment)} has no continuous actions: gtp_fast needs a Box action "
                "space."
            )
        self.low, self.high = space.low.astype(np.float32), space.high.astype(np.float32)
        self._observation = np.zeros((0, 0), np.float32)

    def reset(self, seeds: Sequence[int | None], mask: NDArray[np.bool_]) -> Floats:
        """Start an episode in each masked slot; without a seed it rests."""
        if mask.any():
            with self._named("reset"):
                observation, _ = self._env.reset(seed=list(seeds), options={"reset_mask": mask})
            self._observation = flatten(observation, self._keys)
        return self._observation

    def step(self, actions: Floats) -> Moment:
        """Apply actions [n, A]; UserError for whatever the environment raises, as in `reset`."""
        with self._named("step"):
            observation, reward, terminated, truncated, info = self._env.step(actions)
        success = np.full(len(reward), np.nan)
        if "success" in info:
            known = info["_success"]
            success[known] = info["success"][known]
        self._observation = flatten(observation, self._keys)
        return Moment(self._observation, reward, terminated | truncated, success)

    @contextlib.contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Turn what the environment raises into a UserError with its name."""
        try:
            yield
        except UserError:
            raise
        # A viewer whose window is closed may call sys.exit: uncaught, the run would end with
        # exit code 0 and no scores.
        except (Exception, SystemExit) as error:
            kind, said = type(error).__name__, first_line(error)
            raise UserError(
                f"The environment {self._name} failed in its {what} "
                f"({kind if said == kind else f'{kind}: {said}'}): mend it there, or name another "
                "by --env."
            ) from error

    def close(self) -> None:
        """Free the environments, also those behind one that fails."""
        if self._env.closed:
            return
        self._env.closed = True
        stack = contextlib.ExitStack()
        for environment in self._env.envs:
            stack.callback(environment.close)
        closing.close(stack, self._name)


def flatten(observation: Any, keys: Sequence[str]) -> Floats:
    """Return observations [n, ...] as float32 [n, O]; a dict's entries are joined by `keys`."""
    if keys:
        parts = nested.flat(observation)
        return np.concatenate(
            [parts[key].reshape(len(parts[key]), -1) for key in keys],
            axis=-1, dtype=np.float32, casting="same_kind",
        )  # fmt: skip
    return np.array(observation, dtype=np.float32).reshape(len(observation), -1)
