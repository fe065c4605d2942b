"""The one exception that reaches a user as a sentence instead of a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user gave cannot be used; the message says which thing and the mend."""
