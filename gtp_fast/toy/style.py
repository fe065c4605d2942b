"""What the toy's figures share: canvas, colours that the colour-blind can tell apart, saving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gtp_fast.errors import UserError

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette."""


def figure(width: float, height: float, dpi: int = 110) -> tuple[Any, Callable[[Path], None]]:
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
            canvas.savefig(path, dpi=dpi)
            if path.suffix == ".png":
                _shrink(path)
        except (OSError, ValueError) as error:
            raise UserError(f"The figure {path} cannot be written: {error}.") from error

    return canvas, save


def _shrink(path: Path) -> None:
    """Keep 128 colours: drawings need no more, and take a third of the room."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(128)
    small.save(path, optimize=True)
