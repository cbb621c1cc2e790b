"""Chooses the classes that an app is made of: ours, or a subclass that the application names."""

from __future__ import annotations

from typing import Any

from ..as_celery.name_table import MODULES
from ..celery_names.importing import symbol_by_name
from ..exceptions import ImproperlyConfigured
from .loading import Loader

PACKAGE = __package__.rpartition(".")[0]
ALIASES = {"app": "celery.loaders.app:AppLoader", "default": "celery.loaders.app:AppLoader"}
"""Celery's short names for its loaders."""

NOT_CALLED = {
    "on_process_cleanup": "the signal task_postrun",
    "on_task_init": "the signal task_prerun",
    "on_worker_process_init": "the signal worker_process_init",
    "on_worker_shutdown": "the signal worker_shutdown",
    "read_configuration": "config_from_object()",
    "setup_settings": "config_from_object()",
}
"""Methods that a Celery loader may define and that nothing calls here. The value names the replacement."""


def class_for(name: str, given: Any, base: type) -> Any:
    """Return the class for the app attribute `name`, such as `loader_cls`. It must derive from `base`.

    :param given: a class, or its dotted name. Celery's own names mean our classes.
    """
    found = _by_name(given) if isinstance(given, str) else given
    if not isinstance(found, type) or not issubclass(found, base):
        raise ImproperlyConfigured(
            f"{name} = {given!r} can't be used; it takes a class that derives from {base.__module__}."
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
        raise ImproperlyConfigured(f"the class {name!r} can't be imported: {error}") from error
