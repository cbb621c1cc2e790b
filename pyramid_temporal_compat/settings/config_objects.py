"""Reading a configuration object: a mapping, a module, a class, or the dotted name of one."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from ..exceptions import ImproperlyConfigured
from .table import CELERY_NAMES, OLD_TO_NEW, SETTINGS


@contextlib.contextmanager
def working_directory_importable() -> Iterator[None]:
    """Let modules of the working directory be imported, as Celery does. Console scripts don't have it on the path."""
    here = os.getcwd()
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)


def import_object(name: str) -> Any:
    """Return the module `name`, or the attribute of `package.module:attribute` or `package.module.attribute`."""
    if name.endswith(".py"):
        raise ImproperlyConfigured(f"{name!r} is a file; write it as a module: {name[:-3]!r}")
    with working_directory_importable():
        module, colon, attribute = name.partition(":")
        if not colon:
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError as error:
                # A module that the configuration itself imports is missing: that is the user's error to see.
                if not error.name or not (name == error.name or name.startswith(error.name + ".")) or "." not in name:
                    raise
                module, _, attribute = name.rpartition(".")
        found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ImproperlyConfigured(f"{name!r} does not exist: the module {module!r} has no {attribute!r}")
        found = getattr(found, part)
    return found


def as_mapping(source: Any) -> dict[str, Any]:
    """Return the settings of `source`: a mapping's items, or an object's public attributes."""
    if isinstance(source, Mapping):
        return dict(source)
    found: dict[str, Any] = {}
    for name in dir(source):
        if name.startswith("_"):
            continue
        with contextlib.suppress(AttributeError):
            value = getattr(source, name)
            # What a configuration module imports for its own use is no setting, and could not be pickled.
            if not isinstance(value, ModuleType):
                found[name] = value
    return found


def refuse_mixed_names(keys: Iterable[str]) -> None:
    """Raise if a configuration mixes new and old names, as Celery does. Both names of one setting may be set."""
    given = set(keys)
    new = {key for key in given if key in CELERY_NAMES}
    old = {key for key in given if key in OLD_TO_NEW}
    if len(old) > len(new):
        renames = {key: SETTINGS[key].old[0] for key in new if not given.intersection(SETTINGS[key].old)}
        wanted = "old"
    else:
        renames = {key: OLD_TO_NEW[key] for key in old if OLD_TO_NEW[key] not in given}
        wanted = "new"
    if not new or not renames:
        return
    lines = "\n".join(f"  {key} -> {to}" for key, to in sorted(renames.items()))
    raise ImproperlyConfigured(
        f"this configuration mixes Celery's old and new setting names; most are {wanted}, so rename these:\n{lines}"
    )
