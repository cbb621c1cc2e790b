"""Finds modules and objects by their names, with the functions of `celery.utils.imports`."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any


class NotAPackage(Exception):
    """A part of a dotted module name is a plain module, which contains no other modules."""


def symbol_by_name(
    name: Any,
    aliases: Mapping[str, str] | None = None,
    imp: Callable[..., Any] | None = None,
    package: str | None = None,
    sep: str = ".",
    default: Any = None,
    **kwargs: Any,
) -> Any:
    """Return the object named `package.module:name` or `package.module.name`.

    A value that is not a text is returned unchanged.
    """
    if not isinstance(name, str):
        return name
    name = (aliases or {}).get(name) or name
    module_name, _, attribute = name.rpartition(":" if ":" in name else sep)
    if not module_name:
        module_name, attribute = (package, "") if package else (attribute, "")
    try:
        try:
            module = (imp or importlib.import_module)(module_name, package=package, **kwargs)
        except ValueError as error:
            raise ValueError(f"Couldn't import {name!r}: {error}") from error
        return getattr(module, attribute) if attribute else module
    except (ImportError, AttributeError):
        if default is None:
            raise
        return default


def instantiate(name: Any, *args: Any, **kwargs: Any) -> Any:
    """Import the class of this name, and return a new instance."""
    return symbol_by_name(name)(*args, **kwargs)


def qualname(obj: Any) -> str:
    """Return the full name of a class or function; for any other object, of its class."""
    named = obj if hasattr(obj, "__name__") else type(obj)
    name: str = named.__qualname__
    return name if "." in name else f"{named.__module__}.{name}"


@contextlib.contextmanager
def cwd_in_path() -> Iterator[str | None]:
    """While this lasts, modules are also found in the current directory."""
    try:
        cwd = os.getcwd()
    except FileNotFoundError:  # the directory was removed meanwhile
        cwd = ""
    if not cwd or cwd in sys.path:
        yield None
        return
    sys.path.insert(0, cwd)
    try:
        yield cwd
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(cwd)


def import_from_cwd(module: str, imp: Callable[..., Any] | None = None, package: str | None = None) -> Any:
    """Import a module that may be in the current directory."""
    with cwd_in_path():
        return (imp or importlib.import_module)(module, package=package)


def reload_from_cwd(module: ModuleType, reloader: Callable[[ModuleType], Any] | None = None) -> Any:
    """Reload a module that may be in the current directory."""
    with cwd_in_path():
        return (reloader or importlib.reload)(module)


def find_module(module: str, path: Any = None, imp: Callable[[str], Any] | None = None) -> Any:
    """Import a module. Raise `NotAPackage` if a part of its name before the last dot is not a package."""
    find = imp or importlib.import_module
    with cwd_in_path():
        try:
            return find(module)
        except ImportError:
            parts = module.split(".")
            for end in range(1, len(parts)):
                package = ".".join(parts[:end])
                try:
                    found = find(package)
                except ImportError:
                    break
                if not hasattr(found, "__path__"):
                    raise NotAPackage(package) from None
            raise


def module_file(module: ModuleType) -> str:
    """Return the source file of a module."""
    name = module.__file__ or ""
    return name[:-1] if name.endswith(".pyc") else name


def gen_task_name(app: Any, name: str, module_name: str) -> str:
    """Return the name of a task that is given none."""
    module_name = module_name or "__main__"
    if module_name == "__main__" and app.main:
        module_name = app.main
    return f"{module_name}.{name}"
