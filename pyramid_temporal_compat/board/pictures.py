"""Plots and canvases as shapes, which templates draw as SVG. No markup is made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..results.canvas_view import Line

WIDTH, HEIGHT = 160, 32
"""Size of a plot."""
ROW, INDENT, BOX = 38, 26, 30
"""Pixels: from one task of a canvas to the next, from a level to the next, and the height of a task's box."""
CANVAS_WIDTH = 640
LETTER = 7.6
"""Width of a letter in a box, roughly."""


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
    """One node of a canvas."""

    x: int
    y: int
    width: int
    height: int
    text: str
    full_text: str
    state: str
    id: str
    is_task: bool
    is_chosen: bool
    """Whether the page is about this task."""
    elbow: str
    """The way from the node above, as SVG writes it; "" for the root."""


@dataclass(frozen=True)
class CanvasPicture:
    """A canvas: each node below the node that has it, and further to the right."""

    boxes: Sequence[Box]
    width: int
    height: int


def picture_of(lines: Sequence[Line], chosen: str) -> CanvasPicture | None:
    """Return the picture of a canvas; None without one."""
    if not lines:
        return None
    boxes: list[Box] = []
    above: list[int] = []
    deepest = max(line.depth for line in lines)
    indent = INDENT if deepest * INDENT < CANVAS_WIDTH // 2 else max(2, CANVAS_WIDTH // 2 // deepest)
    for place, line in enumerate(lines):
        x, y = line.depth * indent + 1, place * ROW + 4
        del above[line.depth :]
        width = CANVAS_WIDTH - x - 1
        elbow = ""
        if above:
            left, top = max(0, line.depth - 1) * indent + 1 + indent // 2, above[-1] * ROW + 4 + BOX
            elbow = f"M{left},{top} V{y + BOX // 2} H{x}"
        room = int((width - 110) / LETTER)
        text = line.text if len(line.text) <= room else f"{line.text[: room - 1]}…"
        boxes.append(
            Box(
                x,
                y,
                width,
                BOX,
                text,
                line.text,
                line.state,
                line.id,
                line.is_task,
                line.is_task and line.id == chosen,
                elbow,
            )  # fmt: skip
        )
        above.append(place)
    return CanvasPicture(boxes, CANVAS_WIDTH, len(lines) * ROW + 4)
