"""What a fault is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..counting import Count
from ..scene import Scene


class Fault(ABC):
    """One row of the table. Its moments are drawn from `scene.dice`, which the seed makes."""

    name: str
    does: str
    """What is broken."""
    holds: str
    """What must hold, beside committed = started = effects."""
    rounds: int = 20
    short_rounds: int = 4
    own_postgres: bool = False
    """Whether it breaks the database's server, and so needs one that no other fault uses meanwhile."""

    @abstractmethod
    def run(self, scene: Scene) -> None:
        """Build what is needed, and break it under load. What the counts can't say goes to `scene.problems`."""

    def count(self, scene: Scene) -> Count:
        """The count at the end."""
        return scene.settled()
