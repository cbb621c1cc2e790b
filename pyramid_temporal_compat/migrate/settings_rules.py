"""Says of one setting of Celery what the table of settings says, wherever the setting was written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..settings.declare import Effect
from ..settings.table import SETTINGS, celery_name, misspelled

SERIALIZERS = frozenset({"task_serializer", "result_serializer", "accept_content", "result_accept_content"})
AT_MOST_ONCE = frozenset({"task_acks_late", "task_reject_on_worker_lost"})
FALSE = frozenset({"false", "no", "off", "0"})


class Said(NamedTuple):
    """One thing to say of a setting: the rule's code, and the sentence if the rule's own is not exact enough."""

    code: str
    sentence: str = ""


def said_of(key: str, value: str, *, own_section: bool) -> Iterator[Said]:
    """Yield what is to be said of `key = value`. `own_section` means that only Celery's settings should stand there."""
    name = celery_name(key)
    if name is None:
        if key.lower().startswith("redbeat_"):
            yield Said("PTC503")
        elif meant := misspelled(key):
            yield Said("PTC405", f"Celery has no setting of this name. Did you mean {meant!r}?")
        elif own_section:
            yield Said("PTC408")
        return
    setting = SETTINGS[name]
    is_false = value.strip().lower() in FALSE
    if key != name and key.isupper():
        yield Said("PTC406", f"The new name is {name}. The old one is read, too.")
    if name == "beat_schedule":
        yield Said("PTC501")
    elif name == "beat_scheduler" and "PersistentScheduler" not in value:
        yield Said("PTC503")
    elif name in SERIALIZERS and ("pickle" in value or "yaml" in value):
        yield Said("PTC808")
    elif (name in AT_MOST_ONCE and is_false) or (name == "task_always_eager" and not is_false):
        yield Said("PTC409")
    elif setting.effect is Effect.REFUSED:
        yield Said("PTC403", f"{setting.sentence} The setting is accepted, and has no effect on tasks.")
    elif setting.effect is Effect.EQUIVALENT:
        yield Said("PTC404", f"{setting.sentence} Nothing has to change.")
