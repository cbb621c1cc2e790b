"""Plots and canvases as shapes, which templates draw as SVG. No markup is made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..results.canvas_view import Line

WIDTH, HEIGHT = 160, 32
"""Size of a plot."""
ROW, INDENT, BOX = 36, 22, 28
"""Pixels: from one task of a canvas to the next, from a level to the next, and the height of a task's box."""
DEEPEST = 12
"""Levels that are drawn further to the right than the level above."""


@dataclass(frozen=True)
class Plot:
    """A line over time."""

    points: str
    """The corners of the line, as SVG writes them."""
    area: str
    """The corners of the area below the line."""
    largest: int
    last: int
    count: int
    width: int = WIDTH
    height: int = HEIGHT


def plot(values: Sequence[int]) -> Plot | None:
    """Return the plot of these values, the oldest first; None for fewer than two."""
    if len(values) < 2:
        return None
    largest = max(values)
    step = WIDTH / (len(values) - 1)
    usable = HEIGHT - 4
    corners = [
        (round(place * step, 1), round(HEIGHT - 2 - usable * value / (largest or 1), 1))
        for place, value in enumerate(values)
    ]
    line = " ".join(f"{x},{y}" for x, y in corners)
    return Plot(line, f"0,{HEIGHT} {line} {WIDTH},{HEIGHT}", largest, values[-1], len(values))


@dataclass(frozen=True)
class Box:
    """One node of a canvas. It reaches to the right edge, however wide the page is."""

    x: int
    y: int
    line: Line
    is_chosen: bool
    """Whether the page is about this task."""
    elbow: str
    """The way from the node above, as SVG writes it; "" for the root."""
    height: int = BOX


@dataclass(frozen=True)
class CanvasPicture:
    """A canvas: each node below the node that has it, and further to the right."""

    boxes: Sequence[Box]
    height: int


def picture_of(lines: Sequence[Line], chosen: str) -> CanvasPicture | None:
    """Return the picture of a canvas; None without one."""
    boxes: list[Box] = []
    above: list[Box] = []
    for place, line in enumerate(lines):
        x, y = min(line.depth, DEEPEST) * INDENT + 1, place * ROW + 2
        del above[line.depth :]
        elbow = f"M{above[-1].x + INDENT // 2},{above[-1].y + BOX} V{y + BOX // 2} H{x}" if above else ""
        box = Box(x, y, line, line.is_task and line.id == chosen, elbow)
        boxes.append(box)
        above.append(box)
    return CanvasPicture(boxes, len(lines) * ROW) if boxes else None
