"""The table of all settings, and how to find a setting by any of its names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ..exceptions import UnknownSetting
from .celery_names import BEAT, DAEMON, GENERAL, RESULT, SECURITY, TASK, WORKER
from .celery_parts import BROKERS, STORES
from .declare import Effect, Setting
from .ptemporal_settings import OWN

CELERY: tuple[Setting, ...] = (*GENERAL, *TASK, *RESULT, *WORKER, *BEAT, *SECURITY, *DAEMON, *BROKERS, *STORES)
SETTINGS: dict[str, Setting] = {setting.name: setting for setting in (*OWN, *CELERY)}

# In the tables' order, and quick to look in.
CELERY_NAMES: dict[str, None] = dict.fromkeys(setting.name for setting in CELERY)

OLD_TO_NEW: dict[str, str] = {}
for _setting in CELERY:
    for _old in _setting.old:
        OLD_TO_NEW[_old] = _setting.name

NAMES: dict[str, str] = {
    **OLD_TO_NEW,
    **{name: name for name in SETTINGS},
    **{setting.name.replace(".", "_"): setting.name for setting in OWN},
    **{setting.name.replace(".", "_").upper(): setting.name for setting in OWN},
}


def resolve(key: str) -> str | None:
    """Return the name of the setting that `key` means, or None for the application's own keys.

    An unknown key under `ptemporal.` or `celery.` is an error that names the nearest setting.
    """
    if name := NAMES.get(key):
        return name
    lower = key.lower()
    if lower.startswith("celery."):
        rest = key[len("celery.") :]
        if (name := celery_name(rest)) is None:
            raise unknown(key, (f"celery.{setting.name}" for setting in CELERY))
        return name
    if lower.startswith(("ptemporal.", "ptemporal_")):
        raise unknown(key, (setting.name for setting in OWN))
    return None


def celery_name(key: str) -> str | None:
    """Return the Celery setting that `key` means, in upper or lower case: ini parsers turn old names into lowercase."""
    name = NAMES.get(key) or NAMES.get(key.lower()) or NAMES.get(key.upper())
    return None if name is None or name.startswith("ptemporal.") else name


def unknown(key: str, known: Iterable[str]) -> UnknownSetting:
    near = difflib.get_close_matches(key.lower().replace("ptemporal_", "ptemporal."), list(known), n=1, cutoff=0.0)
    return UnknownSetting(
        f"there is no setting {key!r}; the nearest is {near[0]!r} "
        "(`python -m pyramid_temporal_compat.settings` lists all)"
    )


def unsupported() -> dict[str, str]:
    """Return the reason for each Celery setting that has no meaning here, by the name `conf.<setting>`."""
    return {f"conf.{setting.name}": setting.sentence for setting in CELERY if setting.effect is Effect.REFUSED}
