"""The base class of faults."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..counting import Count
from ..scene import Scene


class Fault(ABC):
    """One row of the table. `scene.dice`, made from the seed, draws its moments."""

    name: str
    does: str
    """How the fault breaks the processes, for the table."""
    holds: str
    """The required result, besides committed = started = effects."""
    rounds: int = 20
    short_rounds: int = 4
    own_postgres: bool = False
    """Whether the fault breaks the database server, and so needs a server that no other fault uses."""

    @abstractmethod
    def run(self, scene: Scene) -> None:
        """Start processes, and break them under load. Failures that the counts do not show go to `scene.problems`."""

    def count(self, scene: Scene) -> Count:
        """Return the count at the end."""
        return scene.settled()
