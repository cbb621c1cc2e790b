"""Finds the app that `-A` names, by Celery's rules."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pyramid_temporal_compat

from ..app import Celery
from ..exceptions import ImproperlyConfigured


def import_from_here() -> None:
    """Make modules of the current directory importable, as Celery's commands do."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def named_app(name: str) -> Celery:
    """Return the app that `-A` names: a module, a package with a module `celery`, or `module:attribute`."""
    if name.partition("#")[0].endswith(".ini"):
        raise ImproperlyConfigured(f"-A {name}: an ini file is named without -A: ptemporal-compat worker {name}")
    import_from_here()
    install = getattr(pyramid_temporal_compat, "install_as_celery", None)
    if install is not None:
        install()  # an application that was written for Celery runs with no edit
    found = find_app(name)
    if not isinstance(found, Celery):
        kind = f"{type(found).__module__}.{type(found).__qualname__}"
        raise ImproperlyConfigured(
            f"-A {name} names {found!r:.80}, which is a {kind} and no app of this package; import Celery from "
            "pyramid_temporal_compat"
        )
    return found


def find_app(name: str) -> Any:
    """Find an app by Celery's rules: `app`, then `celery`, then the package's module `celery`, then any app."""
    module_name, colon, attribute = name.partition(":")
    try:
        module: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        parent, _, last = module_name.rpartition(".")
        if colon or not parent or error.name != module_name:
            raise _no_such_module(name, error) from error
        try:
            module = getattr(importlib.import_module(parent), last)  # `package.module.attribute`
        except (ModuleNotFoundError, AttributeError):
            raise _no_such_module(name, error) from error
    if colon:
        for part in attribute.split("."):
            if not hasattr(module, part):
                raise ImproperlyConfigured(f"-A {name}: {module_name} has no {attribute!r}")
            module = getattr(module, part)
        return module
    return _app_in(module, name) if isinstance(module, ModuleType) else module


def _app_in(module: ModuleType, name: str) -> Any:
    for attribute in ("app", "celery"):
        found = getattr(module, attribute, None)
        if found is not None and not isinstance(found, ModuleType):
            return found
    if hasattr(module, "__path__") and importlib.util.find_spec(f"{module.__name__}.celery") is not None:
        return find_app(f"{module.__name__}.celery")
    for found in vars(module).values():
        if isinstance(found, Celery):
            return found
    package = module.__name__.partition(".")[0]
    if is_pyramid_application(package):
        inis = inis_of(package, Path.cwd()) or ["app.ini"]
        raise ImproperlyConfigured(
            f"-A {name}: there is no app in {module.__name__}; {package} is a Pyramid application ({package}.main), so "
            f"name its ini file in place of -A: ptemporal-compat worker {inis[0]}"
            + (f" (or {', '.join(inis[1:])})" if inis[1:] else "")
        )
    raise ImproperlyConfigured(f"-A {name}: there is no app in {module.__name__}; name it: -A {name}:attribute")


def hint_at_ini(name: str) -> str | None:
    """Return a hint at the ini file of the Pyramid application that `-A` names, if one is in this directory."""
    package = name.partition(":")[0].partition(".")[0]
    inis = inis_of(package, Path.cwd()) if is_pyramid_application(package) else []
    if not inis:
        return None
    return (
        f"-A {name}: {package} is a Pyramid application ({package}.main). Without its ini, its tasks get a request "
        f"without its settings and its database session; to give them, add --ini {inis[0]}"
        + (f" (or {', '.join(inis[1:])})" if inis[1:] else "")
    )


def is_pyramid_application(package: str) -> bool:
    """Tell whether an imported package has a `main(global_config, **settings)`, as every Pyramid application has."""
    function = getattr(sys.modules.get(package), "main", None)
    try:
        kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return kinds == [inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_KEYWORD]


def inis_of(package: str, directory: Path) -> list[str]:
    """Return the names of the ini files in `directory` that name an application of `package`."""
    names_it = re.compile(rf"^\s*(use|paste\.app_factory)\s*=\s*((egg|call):)?{re.escape(package)}\b", re.MULTILINE)
    files = sorted(directory.glob("*.ini"))
    return [file.name for file in files if names_it.search(file.read_text(encoding="utf-8", errors="replace"))]


def _no_such_module(name: str, error: ModuleNotFoundError) -> ImproperlyConfigured:
    if error.name and (name == error.name or name.startswith((f"{error.name}.", f"{error.name}:"))):
        return ImproperlyConfigured(f"-A {name}: there is no module {error.name!r} (also looked in {os.getcwd()})")
    return ImproperlyConfigured(f"-A {name} can't be imported: {error}")
