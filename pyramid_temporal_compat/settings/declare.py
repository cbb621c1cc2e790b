"""The declaration of a setting: its name, the values that it takes, and what it does here."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any

from ..exceptions import ImproperlyConfigured
from .masking import MASK, masked
from .values import Kind, Reason

# Where Celery 3's names were regular; the others are declared with the setting.
OLD_PREFIXES = {
    "task_": "CELERY_",
    "worker_": "CELERYD_",
    "beat_": "CELERYBEAT_",
    "arangodb_": "CELERY_ARANGODB_",
    "cache_": "CELERY_CACHE_",
    "couchbase_": "CELERY_COUCHBASE_",
    "elasticsearch_": "CELERY_ELASTICSEARCH_",
    "event_": "CELERY_EVENT_",
    "mongodb_": "CELERY_MONGODB_",
    "redis_": "CELERY_REDIS_",
    "result_": "CELERY_RESULT_",
    "security_": "CELERY_SECURITY_",
}


class Effect(enum.Enum):
    """The effect that setting a value has here."""

    ACTS = "acts"
    EQUIVALENT = "equivalent"
    REFUSED = "refused"


@dataclass(frozen=True)
class Setting:
    """One setting. If it has no effect, `sentence` says what does the same here or what to use instead."""

    name: str
    kind: Kind
    default: Any
    help: str
    celery: str | None = None
    effect: Effect = Effect.ACTS
    sentence: str = ""
    old: tuple[str, ...] = ()
    secret: bool = False

    def shown(self, value: Any) -> Any:
        """Return `value` as it may be shown, with secrets hidden."""
        if self.celery == self.name:
            return MASK if self.secret and value is not None else masked(self.name, value)
        # Ours say themselves whether they are secret: the path of a key file is not.
        return MASK if self.secret and value else masked("", value)

    def parse(self, value: Any, key: str | None = None) -> Any:
        """Read `value`, which the user wrote under `key`. An error names both and says what the setting takes."""
        try:
            return self.kind.parse(value)
        except (ValueError, OverflowError) as error:
            shown = MASK if self.secret else repr(self.shown(value))
            reason = f" ({error})" if isinstance(error, (json.JSONDecodeError, Reason)) else ""
            raise ImproperlyConfigured(
                f"{key or self.name} = {shown} can't be read{reason}: it takes {self.kind.takes}"
            ) from None


def old_names(name: str, declared: tuple[str, ...]) -> tuple[str, ...]:
    """Return the uppercase names of `name`: those declared with it, else the regular name."""
    if declared:
        return declared
    for prefix, old in OLD_PREFIXES.items():
        if name.startswith(prefix):
            return (old + name[len(prefix) :].upper(),)
    return (name.upper(),)


def _celery(
    effect: Effect, name: str, kind: Kind, default: Any, help: str, sentence: str, old: tuple[str, ...], secret: bool
) -> Setting:
    return Setting(name, kind, default, help, name, effect, sentence, old_names(name, old), secret)


def acts(name: str, kind: Kind, default: Any, help: str, *old: str) -> Setting:
    """Declare a Celery setting that does the same here as in Celery."""
    return _celery(Effect.ACTS, name, kind, default, help, "", old, False)


def equivalent(name: str, kind: Kind, default: Any, help: str, sentence: str, *old: str) -> Setting:
    """Declare a Celery setting whose purpose is met here in another way."""
    return _celery(Effect.EQUIVALENT, name, kind, default, help, sentence, old, False)


def refused(name: str, kind: Kind, default: Any, help: str, sentence: str, *old: str, secret: bool = False) -> Setting:
    """Declare a Celery setting that has no meaning here."""
    return _celery(Effect.REFUSED, name, kind, default, help, sentence, old, secret)


def own(name: str, kind: Kind, default: Any, help: str, *, celery: str | None = None, secret: bool = False) -> Setting:
    """Declare a setting of ours. `celery` names the Celery setting that is nearest in meaning."""
    return Setting(f"ptemporal.{name}", kind, default, help, celery, secret=secret)
