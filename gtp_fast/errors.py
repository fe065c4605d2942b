"""The one exception that reaches a user as a sentence instead of a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user gave cannot be used; the message names the thing and the mend in one sentence."""
