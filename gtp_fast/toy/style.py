"""What the toy's figures share: canvas, colours that the colour-blind can tell apart, saving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gtp_fast.errors import UserError

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette."""


def figure(width: float, height: float) -> tuple[Any, Callable[[Path], None]]:
    """Return an empty figure (inches) and the function that saves it; UserError without
    matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("The figures need matplotlib: pip install 'gtp_fast[plot]'.") from error
    canvas = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)

    def save(path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            canvas.savefig(path, dpi=110)
        except (OSError, ValueError) as error:
            raise UserError(f"The figure {path} cannot be written: {error}.") from error

    return canvas, save
