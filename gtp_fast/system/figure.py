"""The canvas of every figure: matplotlib without a window, and saving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gtp_fast.errors import UserError


def require() -> tuple[Any, Any]:
    """Return matplotlib's Figure and its canvas; UserError where it is not installed."""
    try:
        import matplotlib  # noqa: F401
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "Figures need matplotlib: pip install 'gtp_fast[plot]', or leave the plot out."
        ) from error
    return Figure, FigureCanvasAgg


def require_name(path: Path) -> None:
    """Raise UserError unless the ending of a name is a kind of figure; `require` does the rest.

    matplotlib would add an ending where there is none, and refuse a strange one after the work.
    """
    _, canvas = require()
    if path.suffix.lower().removeprefix(".") not in canvas.get_supported_filetypes():
        raise UserError(
            f"{path} is no name of a figure: let it end in .png, .svg or .pdf, for example."
        )


def figure(
    width: float, height: float, dpi: int = 150, colours: int | None = None
) -> tuple[Any, Callable[[Path], None]]:
    """Return an empty figure and the function that saves it.

    width, height: inches. colours: size of a .png's palette; None keeps all colours. Both raise
    UserError: the first without matplotlib, the second when the file cannot be written.
    """
    made, canvas = require()
    drawing = made(figsize=(width, height), layout="constrained")
    canvas(drawing)

    def save(path: Path) -> None:
        try:
            drawing.savefig(path, dpi=dpi)
            if colours is not None and path.suffix == ".png":
                _shrink(path, colours)
        except (OSError, ValueError) as error:
            raise UserError(f"The plot {path} cannot be written: {error}.") from error

    return drawing, save


def _shrink(path: Path, colours: int) -> None:
    """Reduce a picture's palette; with 128 colours a drawing takes a third of the space."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(colours)
    small.save(path, optimize=True)
