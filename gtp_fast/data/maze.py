"""Maze maps: where the walls, the start and the goal are."""

from __future__ import annotations

from collections.abc import Sequence

from gtp_fast.tasks import Cell

MazeMap = list[list[int | str]]
_WALL = 1
_START, _GOAL = "r", "g"


def walls(maze: Sequence[Sequence[int | str]]) -> list[list[bool]]:
    """Which cells are walls."""
    return [[cell == _WALL for cell in row] for row in maze]


def bare(maze: Sequence[Sequence[int | str]]) -> MazeMap:
    """The map without marks: walls and free cells only."""
    return [[_WALL if cell == _WALL else 0 for cell in row] for row in maze]


def marked(maze: Sequence[Sequence[int | str]], start: Cell | None, goal: Cell | None) -> MazeMap:
    """The bare map with one start and one goal cell."""
    out = bare(maze)
    for cell, letter in ((start, _START), (goal, _GOAL)):
        if cell is not None:
            out[cell[0]][cell[1]] = letter
    return out


def only(maze: Sequence[Sequence[int | str]], letter: str) -> Cell | None:
    """Return the only cell with that mark; None for no cell or several."""
    cells = [(i, j) for i, row in enumerate(maze) for j, cell in enumerate(row) if cell == letter]
    return cells[0] if len(cells) == 1 else None


def centre(maze: Sequence[Sequence[int | str]], cell: Cell, scale: float) -> tuple[float, float]:
    """Return x and y of a cell's centre in metres; origin: the middle, rows go down."""
    x = (cell[1] + 0.5 - len(maze[0]) / 2) * scale
    y = (len(maze) / 2 - cell[0] - 0.5) * scale
    return x, y


def evaluation_map(
    collected: Sequence[Sequence[int | str]],
    stored: Sequence[Sequence[int | str]] | None,
    start: Cell,
    goal: Cell,
) -> MazeMap | None:
    """Return the collection map with one start and one goal cell; None without any.

    Taken from the collection map where it marks both, else from the stored evaluation map, turned
    back where it is the mirror image (as reported for Minari's umaze sets), else the task's cells.
    """
    if only(collected, _START) and only(collected, _GOAL):
        return marked(collected, only(collected, _START), only(collected, _GOAL))
    for candidate in _reflections(stored) if stored is not None else []:
        begin, end = only(candidate, _START), only(candidate, _GOAL)
        if begin and end and walls(candidate) == walls(collected):
            return marked(collected, begin, end)
    shape = walls(collected)
    inside = all(i < len(shape) and j < len(shape[0]) for i, j in (start, goal))
    if inside and not any(shape[i][j] for i, j in (start, goal)):
        return marked(collected, start, goal)
    return None


def _reflections(maze: Sequence[Sequence[int | str]]) -> list[list[list[int | str]]]:
    plain = [list(row) for row in maze]
    flipped = [row[::-1] for row in plain]
    return [plain, flipped, plain[::-1], flipped[::-1]]
