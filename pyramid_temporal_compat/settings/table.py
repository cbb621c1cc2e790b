"""The table of all settings, and how to find a setting by any of its names."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable

from ..exceptions import CeleryWarning, UnknownSetting
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

NAMES_IN_LOWER_CASE: dict[str, str] = {
    name.lower(): setting for name, setting in NAMES.items() if not setting.startswith("ptemporal.")
}


def resolve(key: str) -> str | None:
    """Return the name of the setting that `key` means, or None for the application's own keys.

    An unknown key under `ptemporal.` is an error that names the nearest setting. Under `celery.` a key is an error if
    it is one edit away from a setting; any other key there may be the application's own.
    """
    if name := NAMES.get(key):
        return name
    lower = key.lower()
    if lower.startswith("celery."):
        rest = key[len("celery.") :]
        if (name := celery_name(rest)) is None and (meant := misspelled(rest)):
            raise UnknownSetting(f"there is no setting {key!r}; did you mean 'celery.{meant}'?")
        return name
    if lower.startswith(("ptemporal.", "ptemporal_")):
        raise unknown(key, (setting.name for setting in OWN))
    return None


def celery_name(key: str) -> str | None:
    """Return the Celery setting that `key` means, in upper or lower case: ini parsers turn old names into lowercase."""
    name = NAMES.get(key) or NAMES.get(key.lower()) or NAMES.get(key.upper())
    return None if name is None or name.startswith("ptemporal.") else name


def misspelled(key: str) -> str | None:
    """Return the Celery setting that `key` is one edit away from, so that it can't be meant for anything else."""
    lower = key.lower()
    near = difflib.get_close_matches(lower, NAMES_IN_LOWER_CASE, n=3, cutoff=0.8)
    return next((NAMES_IN_LOWER_CASE[name] for name in near if one_edit_apart(lower, name)), None)


def one_edit_apart(one: str, other: str) -> bool:
    """Return whether a letter was left out, added, replaced, or swapped with its neighbour."""
    start = same_at_start(one, other)
    one, other = one[start:], other[start:]
    end = same_at_start(one[::-1], other[::-1])
    one, other = one[: len(one) - end], other[: len(other) - end]
    return max(len(one), len(other)) <= 1 or (len(one) == 2 and one == other[::-1])


def same_at_start(one: str, other: str) -> int:
    """Return how many letters at the start of both texts are the same."""
    shorter = min(len(one), len(other))
    return next((at for at in range(shorter) if one[at] != other[at]), shorter)


def warn_of_own_key(where: str, key: str) -> None:
    """Warn that a key among Celery's settings names no setting. Applications keep keys of their own there."""
    near = difflib.get_close_matches(key.lower(), CELERY_NAMES, n=1, cutoff=0.0)
    warnings.warn(
        f"{where} is no setting of Celery's, and so the application's own; the nearest setting is {near[0]!r}",
        CeleryWarning,
        stacklevel=2,
    )


def unknown(key: str, known: Iterable[str]) -> UnknownSetting:
    near = difflib.get_close_matches(key.lower().replace("ptemporal_", "ptemporal."), list(known), n=1, cutoff=0.0)
    return UnknownSetting(
        f"there is no setting {key!r}; the nearest is {near[0]!r} "
        "(`python -m pyramid_temporal_compat.settings` lists all)"
    )


def unsupported() -> dict[str, str]:
    """Return the reason for each Celery setting that has no meaning here, by the name `conf.<setting>`."""
    return {f"conf.{setting.name}": setting.sentence for setting in CELERY if setting.effect is Effect.REFUSED}
