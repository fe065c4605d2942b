"""Generative Trajectory Policies, the agent of this package."""

from gtp_fast.agents.gtp.agent import GTP
from gtp_fast.agents.gtp.config import GTPConfig

__all__ = ["GTP", "GTPConfig"]
