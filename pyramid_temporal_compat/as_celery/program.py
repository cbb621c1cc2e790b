"""Runs a program after `install_as_celery()`, so that it needs no edit:

    python -m pyramid_temporal_compat.as_celery pserve app.ini
    python -m pyramid_temporal_compat.as_celery -m myapp.cli
    python -m pyramid_temporal_compat.as_celery script.py
    python -m pyramid_temporal_compat.as_celery celery -A myapp worker
    python -m pyramid_temporal_compat.as_celery --real-kombu pserve app.ini

An ini file can do the same, for every program that loads the ini:

    [app:main]
    paste.app_factory = pyramid_temporal_compat.as_celery:app_factory
    as_celery.app = myapp:main
    as_celery.real_kombu = true     ; only for an application that has messages of its own on a broker
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..celery_names.importing import symbol_by_name
from ..exceptions import ImproperlyConfigured
from ..settings.values import boolean
from .finder import install_as_celery

APP_KEY = "as_celery.app"
KOMBU_KEY = "as_celery.real_kombu"
REAL_KOMBU = "--real-kombu"
CELERYS_PROGRAM = "pyramid_temporal_compat.cli:main"
"""The command line that takes the place of Celery's. It is named, not imported, because it is in a higher layer."""


def app_factory(global_config: Mapping[str, Any], **settings: Any) -> Any:
    """Return the WSGI application that the ini names as `as_celery.app`. Its `import celery` finds this package."""
    name = settings.pop(APP_KEY, None)
    if not name:
        raise ImproperlyConfigured(
            f"{APP_KEY} is not set; name the application's own factory, such as {APP_KEY} = myapp:main"
        )
    install_as_celery(kombu=not boolean.parse(settings.pop(KOMBU_KEY, False)))
    try:
        factory = symbol_by_name(name)
    except AttributeError as error:
        raise ImproperlyConfigured(f"{APP_KEY} = {name!r} can't be found: {error}") from error
    return factory(global_config, **settings)


def main(argv: Sequence[str]) -> None:
    """Run the console script, the module (`-m`) or the file that `argv` names, with the rest of `argv`."""
    real_kombu = argv[:1] == [REAL_KOMBU]
    argv = argv[1:] if real_kombu else argv
    if not argv or argv == ["-m"]:
        sys.exit((__doc__ or "").strip())
    install_as_celery(kombu=not real_kombu)
    program = argv[0]
    if program == "celery" or argv[:2] == ["-m", "celery"]:
        sys.argv = ["celery", *argv[1 if program == "celery" else 2 :]]
        symbol_by_name(CELERYS_PROGRAM)()
    elif program == "-m":
        sys.argv = [argv[1], *argv[2:]]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    elif os.path.isfile(program):
        sys.argv = list(argv)
        sys.path.insert(0, os.path.dirname(os.path.abspath(program)))
        runpy.run_path(program, run_name="__main__")
    else:
        sys.argv = list(argv)
        sys.exit(_console_script(program)())


def _console_script(name: str) -> Any:
    from importlib.metadata import entry_points  # 10 ms, which every import of this package would pay

    found = list(entry_points(group="console_scripts", name=name))
    if not found:
        sys.exit(f"as_celery: no installed package has a command {name!r}, and there is no such file")
    return found[0].load()
