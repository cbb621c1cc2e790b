"""Imports the modules that define an application's tasks."""

from __future__ import annotations

import datetime
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import signals
from ..settings.config_objects import working_directory_importable

if TYPE_CHECKING:
    from ..interfaces import AppLike


class Loader:
    """Imports the modules with tasks. An app has one, as `app.loader`."""

    def __init__(self, app: AppLike) -> None:
        self.app = app
        self.worker_initialized = False

    @property
    def default_modules(self) -> list[str]:
        """Return the modules that the settings name: `ptemporal.include`, `imports`, `include`."""
        conf = self.app.conf
        return list(
            dict.fromkeys([*conf["ptemporal.include"], *_names_in(conf["imports"]), *_names_in(conf["include"])])
        )

    def import_default_modules(self) -> list[ModuleType]:
        """Import what `autodiscover_tasks` finds, and then the modules that the settings name."""
        for _receiver, answer in signals.import_modules.send(sender=self.app):
            if isinstance(answer, Exception):
                raise answer
        return [self.import_task_module(name) for name in self.default_modules]

    def import_task_module(self, name: str) -> ModuleType:
        """Import a module with tasks. A subclass may override this."""
        return self.import_from_cwd(name)

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """Import a module."""
        return importlib.import_module(name, package)

    def import_from_cwd(self, name: str, package: str | None = None) -> ModuleType:
        """Import a module that may be in the current directory."""
        with working_directory_importable():
            return importlib.import_module(name, package)

    def autodiscover_tasks(self, packages: Iterable[str], related_name: str | None = "tasks") -> list[ModuleType]:
        """Import the module `related_name` of each package that has it, and return these modules."""
        found = (find_related(package, related_name) for package in packages)
        return [module for module in found if module is not None]

    def init_worker(self) -> None:
        """Import the tasks of a worker. A second call does nothing."""
        if not self.worker_initialized:
            self.worker_initialized = True
            self.import_default_modules()
            self.on_worker_init()

    def on_worker_init(self) -> None:
        """Do nothing. A subclass may override this: a worker calls it after importing the tasks."""

    def now(self, utc: bool = True) -> datetime.datetime:
        """Return the time now, in UTC or in the machine's time zone."""
        return datetime.datetime.now(datetime.timezone.utc) if utc else datetime.datetime.now().astimezone()

    def cwd(self) -> str:
        """Return the current directory."""
        return os.getcwd()


def _names_in(setting: Any) -> Iterable[str]:
    return (setting,) if isinstance(setting, str) else (setting or ())


def find_related(package: str, related_name: str | None) -> ModuleType | None:
    """Return the module `related_name` of `package`; None if the package has no such module.

    A missing package raises `ModuleNotFoundError`.
    """
    if not related_name:
        return importlib.import_module(package)
    name = f"{package}.{related_name}"
    try:
        parent = importlib.import_module(package)
    except ModuleNotFoundError:
        # `package.module.Class`, as Django names its applications: look in `package.module`
        parent_name, _, last = package.rpartition(".")
        if parent_name and last and _is_attribute(parent_name, last):
            return find_related(parent_name, related_name)
        raise
    if not hasattr(parent, "__path__") or importlib.util.find_spec(name) is None:
        return None
    return importlib.import_module(name)


def _is_attribute(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return False


def resolve_packages(packages: Iterable[str] | Callable[[], Iterable[str]] | None) -> Iterable[str]:
    """Return the packages. `autodiscover_tasks` takes a list, or a function that returns one later."""
    return (packages() if callable(packages) else packages) or ()
