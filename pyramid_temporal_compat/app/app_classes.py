"""The classes that an app is made of: ours, or one of the application's own that derives from it."""

from __future__ import annotations

from typing import Any

from ..as_celery.name_table import MODULES
from ..celery_names.importing import symbol_by_name
from ..exceptions import ImproperlyConfigured
from .loading import Loader

PACKAGE = __package__.rpartition(".")[0]
ALIASES = {"app": "celery.loaders.app:AppLoader", "default": "celery.loaders.app:AppLoader"}
"""Celery's short names of loaders."""

NOT_CALLED = {
    "on_process_cleanup": "the signal task_postrun",
    "on_task_init": "the signal task_prerun",
    "on_worker_process_init": "the signal worker_process_init",
    "on_worker_shutdown": "the signal worker_shutdown",
    "read_configuration": "config_from_object()",
    "setup_settings": "config_from_object()",
}
"""What a loader of Celery's may define and nothing calls here, and what does its work."""


def class_for(name: str, given: Any, base: type) -> Any:
    """The class for the app's part `name`: a class, or the dotted name of one, Celery's own names included."""
    found = _by_name(given) if isinstance(given, str) else given
    if not isinstance(found, type) or not issubclass(found, base):
        raise ImproperlyConfigured(
            f"{name} = {given!r} can't be the app's: it takes a class that derives from {base.__module__}."
            f"{base.__qualname__}"
        )
    if base is Loader and (unused := [hook for hook in NOT_CALLED if hasattr(found, hook)]):
        raise ImproperlyConfigured(
            f"{name} = {given!r} defines {unused[0]}(), which nothing calls here; use {NOT_CALLED[unused[0]]}"
        )
    return found


def _by_name(name: str) -> Any:
    dotted = ALIASES.get(name, name).replace(":", ".")
    module, _, attribute = dotted.rpartition(".")
    target = MODULES.get(module, {}).get(attribute)
    if target is not None:
        return symbol_by_name(f"{PACKAGE}{target}" if target.startswith(".") else target)
    try:
        return symbol_by_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(f"{name!r} names no class: {error}") from error
