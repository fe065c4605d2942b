"""What a run leaves on disk."""

from gtp_fast.runs.folder import Run, create, environment, open_run, plain

__all__ = ["Run", "create", "environment", "open_run", "plain"]
