"""Where a name of Celery, kombu or billiard is in this package, as an application would import it."""

from __future__ import annotations

import importlib
from typing import NamedTuple

import pyramid_temporal_compat

from ..as_celery.name_table import MODULES
from ..celery_names.refused import sentence_of

PACKAGE = "pyramid_temporal_compat"


class Home(NamedTuple):
    module: str
    name: str

    @property
    def dotted(self) -> str:
        return f"{self.module}.{self.name}"


def home(module: str, name: str) -> Home | None:
    """Return where `name` of Celery's `module` is: in the package itself if it is public there."""
    place, _, ours = MODULES.get(module, {}).get(name, "").partition(":")
    if not place:
        return None
    module_here = f"{PACKAGE}{place}" if place.startswith(".") else place
    if ours == name and name in pyramid_temporal_compat.__all__:
        public = getattr(pyramid_temporal_compat, name)
        # The canvas `chunks` is public, and the helper of the same name in celery.utils is not.
        if getattr(importlib.import_module(module_here), ours) is public:
            return Home(PACKAGE, name)
    return Home(module_here, ours)


def module_home(module: str) -> str | None:
    """Return the module that has all names of Celery's `module` under the same names, if there is one."""
    homes = {place.partition(":")[0] for place in MODULES.get(module, {}).values()}
    same = all(place.partition(":")[2] == name for name, place in MODULES.get(module, {}).items())
    if len(homes) != 1 or not same:
        return None
    (place,) = homes
    return f"{PACKAGE}{place}" if place.startswith(".") else place


class Split(NamedTuple):
    module: str
    name: str
    rest: str
    """The attributes after the name, with a dot before each: `.retry` of `celery.app.task.Task.retry`."""


def split(dotted: str) -> Split | None:
    """Split a dotted name of Celery into its module, the name in it, and the rest. None if it is only a module."""
    parts = dotted.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:end])
        if module in MODULES and (parts[end] in MODULES[module] or end == len(parts) - 1):
            return Split(module, parts[end], "".join(f".{part}" for part in parts[end + 1 :]))
    return None


def dotted_home(dotted: str) -> str | None:
    """Return the dotted name here of a dotted name of Celery; None if there is none."""
    if dotted in MODULES:
        return module_home(dotted)
    found = split(dotted)
    if found is None:
        return None
    place = home(found.module, found.name)
    return None if place is None or sentence_of(dotted) else f"{place.dotted}{found.rest}"
