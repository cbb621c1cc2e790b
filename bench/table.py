"""The table of results: each figure of ours beside the peer's figure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

HEADINGS = ("benchmark", "figure", "ours", "peer's", "peer", "ours / peer's", "aim", "")


@dataclass(frozen=True)
class Figure:
    """One row: our figure, the peer's figure, and our aim."""

    benchmark: str
    what: str
    ours: float
    theirs: float
    unit: Literal["us", "ms", "/s", "MB"]
    peer: str
    at_most: float | None = None
    """The aim for costs: our figure divided by the peer's, at most."""
    at_least: float | None = None
    """The aim for throughput: our figure divided by the peer's, at least."""

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs

    @property
    def aim(self) -> str:
        if self.at_most is not None:
            return f"<= {self.at_most:.2f}"
        return f">= {self.at_least:.2f}" if self.at_least is not None else ""

    @property
    def verdict(self) -> str:
        if self.at_most is None and self.at_least is None:
            return ""
        missed = (self.at_most is not None and self.ratio > self.at_most) or (
            self.at_least is not None and self.ratio < self.at_least
        )
        return "MISSED" if missed else "met"

    @property
    def cells(self) -> tuple[str, ...]:
        return (
            self.benchmark,
            self.what,
            f"{self.ours:,.1f} {self.unit}",
            f"{self.theirs:,.1f} {self.unit}",
            self.peer,
            f"{self.ratio:.3f}",
            self.aim,
            self.verdict,
        )


def as_text(figures: Sequence[Figure]) -> str:
    rows = [HEADINGS, *(figure.cells for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    numbers = (2, 3, 5)

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if at in numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join([line(rows[0]), "  ".join("-" * width for width in widths), *map(line, rows[1:])])


def as_markdown(figures: Sequence[Figure]) -> str:
    rows = [HEADINGS, ("---", "---", "--:", "--:", "---", "--:", "---", "---"), *(figure.cells for figure in figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
