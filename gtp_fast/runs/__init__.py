"""Files that a run leaves on disk."""

from gtp_fast.runs.folder import Run, create, open_run, plain

__all__ = ["Run", "create", "open_run", "plain"]
