"""The mathematics of the rival policies."""
