"""Finds the workflows and activities of modules, and of the domains that `ptemporal.domains` names."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from temporalio import activity, workflow

from ..exceptions import ImproperlyConfigured
from .definitions import Definition, activity_definition, workflow_definition

if TYPE_CHECKING:
    from ..interfaces import AppLike

PARTS = ("tasks", "temporal_activities", "temporal_workflows")
"""The modules of a domain. Each may be missing."""
QUEUE_NAME = "TASK_QUEUE"
"""The name in a domain's package that gives the queue of its workflows and activities."""


def definitions_in(module: ModuleType, queue: str | None = None, domain: str | None = None) -> Iterator[Definition]:
    """Yield the workflows and activities that a module defines. What it imports is not its own."""
    for target in list(vars(module).values()):
        if getattr(target, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(target) and workflow._Definition.from_class(target) is not None:
            yield workflow_definition(target, queue, domain)
        elif inspect.isfunction(target) and activity._Definition.from_callable(target) is not None:
            yield activity_definition(target, queue, domain)


def definitions_of_domain(app: AppLike, package: str) -> Iterator[Definition]:
    """Import the modules of a domain, and yield its workflows and activities.

    A module that is missing is no error. An error inside a module is the error of the call.
    """
    modules = [module for part in PARTS for module in _related(app, package, part)]
    queue: Any = getattr(app.loader.import_module(package), QUEUE_NAME, None)
    for module in modules:
        yield from definitions_in(module, queue, package)


def _related(app: AppLike, package: str, part: str) -> list[ModuleType]:
    try:
        found: list[ModuleType] = app.loader.autodiscover_tasks([package], part)
        return found
    except ModuleNotFoundError as error:
        if error.name is None or not f"{package}.".startswith(f"{error.name}."):
            raise
        raise ImproperlyConfigured(
            f"ptemporal.domains names {package!r}, and there is no module {error.name!r} (looked in {os.getcwd()} "
            "and sys.path)"
        ) from None


def chosen_domains(named: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the packages that `--domains` names, by their whole name or by its last part."""
    known = list(known)
    found = []
    for name in named:
        packages = [each for each in known if name == each] or [each for each in known if name == short_name(each)]
        if len(packages) != 1:
            fault = f"names {len(packages)} of" if packages else "is none of"
            raise ImproperlyConfigured(
                f"domain {name!r} {fault} ptemporal.domains = {' '.join(known) or '(empty)'}; name its whole package"
            )
        found += packages
    return found


def short_name(package: str) -> str:
    """Return the name of a domain for people: the last part of its package's name."""
    return package.rpartition(".")[2]
