"""Scores, curves and costs of many runs."""
