"""Files that a run leaves on disk."""

from gtp_fast.runs.folder import Run, create, make, open_run, plain

__all__ = ["Run", "create", "make", "open_run", "plain"]
