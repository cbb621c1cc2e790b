"""Loads the application that a command names, and prints its errors in one line."""

from __future__ import annotations

import configparser
import contextlib
import importlib
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from pyramid.config import global_registries
from pyramid.scripts.common import get_config_loader

import pyramid_temporal_compat

from ..app import APP_KEY, Celery, current_app
from ..exceptions import CeleryError, ImproperlyConfigured, OperationalError
from ..interfaces import AppLike
from ..log import Logging
from ..settings.ini import unreadable
from .common import Common

EXIT_FAILED = 1
"""Exit code if something outside is missing: no server, no namespace, no database."""
EXIT_USAGE = 2
"""Exit code if the user wrote something invalid: on the command line, in the ini, in a setting."""


def bootstrapped(config: str) -> Celery:
    """Load the application of an ini file as pserve does, with the ini's logging, and return its app."""
    path = config.partition("#")[0]
    if "://" not in path and not path.startswith("egg:") and not Path(path).is_file():
        raise click.UsageError(f"there is no file {path!r}; name the application's ini file")
    import_from_here()
    try:
        loader = get_config_loader(config)
        if "loggers" in loader.get_sections():
            loader.setup_logging()
            Logging.already_setup = True
        return app_of(loader.get_wsgi_app())
    except configparser.Error as error:
        raise unreadable(path, error) from None


def app_of(wsgi_app: Any) -> Celery:
    """Return the app of a bootstrapped Pyramid application."""
    registry = getattr(wsgi_app, "registry", None) or global_registries.last
    app = registry.get(APP_KEY) if registry is not None else None
    if not isinstance(app, Celery):
        raise ImproperlyConfigured(
            "the application does not include pyramid_temporal_compat; add it to pyramid.includes in the ini, "
            'or call config.include("pyramid_temporal_compat")'
        )
    return app


def import_from_here() -> None:
    """Make modules of the current directory importable, as Celery's commands do."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def application(common: Common, config: str | None) -> AppLike:
    """Return the app that the command line names: by an ini, by `-A`, or by both.

    With both, the app of `-A` gets its requests from the Pyramid application of the ini. An app without an ini has an
    empty Pyramid registry.
    """
    config = config or common.config
    app = named_app(common.app) if isinstance(common.app, str) else common.app
    if config is None:
        if app is None and os.environ.get("CELERY_CONFIG_MODULE"):
            app = current_app()  # as in Celery: the configuration names the task modules
        if app is None:
            raise click.UsageError("name the application: an ini file, or -A module:app")
        return app
    if app is not None:
        app.set_current()  # the application's `config.include` uses the current app
    found = bootstrapped(config)
    if app is not None and found is not app:
        raise ImproperlyConfigured(f"{config} has an app of its own, {found!r}, and -A names {app!r}; leave -A out")
    return found


def named_app(name: str) -> Celery:
    """Return the app that `-A` names: a module, a package with a module `celery`, or `module:attribute`."""
    import_from_here()
    install = getattr(pyramid_temporal_compat, "install_as_celery", None)
    if install is not None:
        install()  # an application that was written for Celery runs with no edit
    found = find_app(name)
    if not isinstance(found, Celery):
        kind = f"{type(found).__module__}.{type(found).__qualname__}"
        raise ImproperlyConfigured(
            f"-A {name} names {found!r}, which is a {kind} and no app of this package; import Celery from "
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
    raise ImproperlyConfigured(f"-A {name}: there is no app in {module.__name__}; name it: -A {name}:attribute")


def _no_such_module(name: str, error: ModuleNotFoundError) -> ImproperlyConfigured:
    if error.name and (name == error.name or name.startswith((f"{error.name}.", f"{error.name}:"))):
        return ImproperlyConfigured(f"-A {name}: there is no module {error.name!r} (also looked in {os.getcwd()})")
    return ImproperlyConfigured(f"-A {name} can't be imported: {error}")


@contextlib.contextmanager
def failing_in_one_line() -> Iterator[None]:
    """Print an error that the user can fix in one line, and exit with the code for its kind."""
    try:
        yield
    except OperationalError as error:
        _fail(str(error), EXIT_FAILED)
    except CeleryError as error:
        _fail(str(error), EXIT_USAGE)


@contextlib.contextmanager
def loading(config: str, *, debug: bool) -> Iterator[None]:
    """Turn every exception of the application's own code into `ImproperlyConfigured`, with the place of the error."""
    try:
        yield
    except (click.ClickException, CeleryError):
        raise
    except Exception as error:
        if debug:
            traceback.print_exception(error)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise ImproperlyConfigured(
            f"{config} can't be loaded: {text} ({where.filename}:{where.lineno}; -l debug prints the traceback)"
        ) from None


def _fail(message: str, code: int) -> None:
    click.echo(f"ptemporal-compat: {message}", err=True)
    if code == EXIT_FAILED:
        # After a failed connection, a thread of the client library still runs. If it returns to an interpreter that is
        # ending, it panics or hangs for ever. This was seen with a server that does not answer.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
