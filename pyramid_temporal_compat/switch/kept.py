"""Where the rules of the switch are kept: in the database of the outbox, or in a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..exceptions import ImproperlyConfigured, OperationalError
from ..settings.masking import masked_text
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
    return RulesInDatabase(app) if place == IN_OUTBOX else RulesInFile(Path(place))


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


class RulesInDatabase:
    """The rules in the table `ptemporal_switch`, on connections of their own."""

    def __init__(self, app: AppLike) -> None:
        from ..outbox.sessions import app_engine  # imports SQLAlchemy, for applications with an outbox only
        from ..outbox.writer import IN_MEMORY

        self._engine = app_engine(app)
        if isinstance(self._engine.pool, IN_MEMORY):
            raise ImproperlyConfigured(
                f"ptemporal.switch = {IN_OUTBOX}, and the outbox is in this process' memory, where no command could "
                "change the rules: name a file instead"
            )
        self._namespace = app.conf["ptemporal.namespace"]
        self.where = masked_text(self._engine.url.render_as_string(hide_password=True))

    def read(self) -> Rules:
        from sqlalchemy import select

        from ..outbox.tables import switch

        question = select(switch.c.rules).where(switch.c.namespace == self._namespace)
        with _explaining(self.where), self._engine.connect() as connection:
            found = connection.execute(question).scalar()
        return NO_RULES if found is None else Rules.read(found, self.where)

    def write(self, rules: Rules) -> None:
        from sqlalchemy import delete, insert

        from ..outbox.dialects import now
        from ..outbox.tables import switch

        row = {"namespace": self._namespace, "rules": rules.written()}
        with _explaining(self.where), self._engine.begin() as connection:
            connection.execute(delete(switch).where(switch.c.namespace == self._namespace))
            connection.execute(insert(switch).values(changed=now(), **row))


class _explaining:
    """Turns the database's errors into one that says what to do."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError

        if isinstance(error, DBAPIError) and "ptemporal_switch" in str(error.orig):
            raise ImproperlyConfigured(
                f"ptemporal.switch = {IN_OUTBOX}, and the database at {self._where} can't give the table "
                "ptemporal_switch: create it with `ptemporal-compat outbox init app.ini`, or with a migration of the "
                f"metadata pyramid_temporal_compat.outbox.metadata: {' '.join(str(error.orig).split())}"
            ) from error
        if isinstance(error, SQLAlchemyError):
            raise OperationalError(f"the switch in {self._where}: {' '.join(str(error).split())}") from error
