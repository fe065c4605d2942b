"""Data: Minari datasets, D4RL files and .npz arrays as one resident transition table."""

from gtp_fast.data.environment import evaluation_spec, fits_environment
from gtp_fast.data.load import load_table
from gtp_fast.data.table import Batch, Provenance, Statistics, TransitionTable

__all__ = [
    "Batch",
    "Provenance",
    "Statistics",
    "TransitionTable",
    "evaluation_spec",
    "fits_environment",
    "load_table",
]
