"""Evaluation environments of other benchmarks; worker processes import it, so it knows no torch."""
