"""The update loop: the same updates by several engines, from plain calls to CUDA graphs."""

from gtp_fast.engine.build import build
from gtp_fast.engine.choice import ENGINES, Choice, Sharing, choose
from gtp_fast.engine.loop import Engine, run
from gtp_fast.engine.pieces import chunks
from gtp_fast.engine.processes import Processes
from gtp_fast.engine.watch import Diverged, Watch
from gtp_fast.system.signals import stop_signals

__all__ = [
    "ENGINES",
    "Choice",
    "Diverged",
    "Engine",
    "Processes",
    "Sharing",
    "Watch",
    "build",
    "choose",
    "chunks",
    "run",
    "stop_signals",
]
