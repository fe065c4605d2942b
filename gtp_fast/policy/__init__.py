"""A trained policy: load(path).act(observation)."""

from gtp_fast.policy.policy import Policy, load

__all__ = ["Policy", "load"]
