"""Where the rules of the switch are kept: in the database of the outbox, or in a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..exceptions import ImproperlyConfigured, OperationalError
from .rules import NO_RULES, Rules

if TYPE_CHECKING:
    from ..interfaces import AppLike

IN_OUTBOX = "outbox"
"""The value of `ptemporal.switch` that names the database of the outbox. Other values are paths."""


class KeptRules(Protocol):
    """The rules, as every process of the application sees them."""

    where: str
    """The place, for people."""

    def read(self) -> Rules: ...
    def write(self, rules: Rules) -> None: ...


def kept_rules(app: AppLike) -> KeptRules:
    """Return the rules that the setting `ptemporal.switch` names."""
    place = app.conf["ptemporal.switch"]
    if place is None:
        raise ImproperlyConfigured(
            "ptemporal.switch is not set: it says where the rules are kept, in the database of the outbox "
            f"(ptemporal.switch = {IN_OUTBOX}) or in a file (ptemporal.switch = /var/lib/app/switch.json)"
        )
    if place != IN_OUTBOX:
        return RulesInFile(Path(place))
    from .in_database import RulesInDatabase  # imports SQLAlchemy, for applications with an outbox only

    return RulesInDatabase(app)


class RulesInFile:
    """The rules in a file, for an application whose processes share a disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = str(path)

    def read(self) -> Rules:
        """Return the rules. A missing file has none."""
        try:
            return Rules.read(self._path.read_text(encoding="utf-8"), self.where)
        except FileNotFoundError:
            return NO_RULES
        except (OSError, UnicodeDecodeError) as error:
            raise OperationalError(f"ptemporal.switch = {self.where} can't be read: {error}") from error

    def write(self, rules: Rules) -> None:
        """Put a new file in the place of the old one, so that no process reads a half of it."""
        try:
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            with open(handle, "w", encoding="utf-8") as file:
                file.write(rules.written() + "\n")
            os.chmod(name, 0o644)
            os.replace(name, self._path)
        except OSError as error:
            raise OperationalError(f"ptemporal.switch = {self.where} can't be written: {error}") from error
