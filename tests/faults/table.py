"""The table of results, as text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEAD = ("fault", "rounds", "committed", "started", "effects", "lost", "doubled", "verdict")


@dataclass(frozen=True)
class Row:
    fault: str
    rounds: int
    committed: int
    started: int
    effects: int
    lost: int
    doubled: int
    verdict: str

    @property
    def cells(self) -> list[str]:
        numbers = (self.rounds, self.committed, self.started, self.effects, self.lost, self.doubled)
        return [self.fault, *(f"{number:,}" for number in numbers), self.verdict]


def as_text(rows: Sequence[Row]) -> str:
    lines = [list(HEAD), *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]

    def written(line: Sequence[str]) -> str:
        first, *numbers, verdict = line
        middle = [cell.rjust(width) for cell, width in zip(numbers, widths[1:-1], strict=True)]
        return "  ".join([first.ljust(widths[0]), *middle, verdict]).rstrip()

    return "\n".join(map(written, lines))


def as_markdown(rows: Sequence[Row]) -> str:
    lines = [HEAD, ("---", *("---:",) * (len(HEAD) - 2), "---"), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
