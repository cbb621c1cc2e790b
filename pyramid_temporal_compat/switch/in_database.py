"""The rules of the switch in the table `ptemporal_switch`, in the database of the outbox."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..exceptions import ImproperlyConfigured, OperationalError
from ..outbox.dialects import now
from ..outbox.sessions import app_engine
from ..outbox.tables import switch
from ..outbox.writer import IN_MEMORY
from ..settings.masking import masked_text
from .rules import NO_RULES, Rules

if TYPE_CHECKING:
    from ..interfaces import AppLike


class RulesInDatabase:
    """The rules of one namespace, on connections of their own."""

    def __init__(self, app: AppLike) -> None:
        self._engine = app_engine(app)
        if isinstance(self._engine.pool, IN_MEMORY):
            raise ImproperlyConfigured(
                "ptemporal.switch = outbox, and the outbox is in this process' memory, where no command could change "
                "the rules: name a file instead"
            )
        self._namespace = app.conf["ptemporal.namespace"]
        self.where = masked_text(self._engine.url.render_as_string(hide_password=True))

    def read(self) -> Rules:
        question = select(switch.c.rules).where(switch.c.namespace == self._namespace)
        with self._explaining(), self._engine.connect() as connection:
            found = connection.execute(question).scalar()
        return NO_RULES if found is None else Rules.read(found, self.where)

    def write(self, rules: Rules) -> None:
        row = {"namespace": self._namespace, "rules": rules.written()}
        with self._explaining(), self._engine.begin() as connection:
            connection.execute(delete(switch).where(switch.c.namespace == self._namespace))
            connection.execute(insert(switch).values(changed=now(), **row))

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        """Turn the database's errors into one that says what to do."""
        try:
            yield
        except DBAPIError as error:
            said = " ".join(str(error.orig).split())
            if switch.name not in said:
                raise OperationalError(f"the switch in {self.where}: {said}") from error
            raise ImproperlyConfigured(
                f"ptemporal.switch = outbox, and the database at {self.where} can't give the table {switch.name}: "
                "create it with `ptemporal-compat outbox init app.ini`, or with a migration of the metadata "
                f"pyramid_temporal_compat.outbox.metadata: {said}"
            ) from error
        except SQLAlchemyError as error:
            raise OperationalError(f"the switch in {self.where}: {' '.join(str(error).split())}") from error
