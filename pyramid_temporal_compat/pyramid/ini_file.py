"""Find Celery's sections of the ini file from which PasteDeploy loads the application."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..settings import celery_sections

PASTE = "paste.deploy.loadwsgi"
"""The module of PasteDeploy that calls an application's factory."""


def sections_of_this_ini() -> Mapping[str, Mapping[str, str]]:
    """Return Celery's sections of the ini file that is being loaded. No file, or not an ini: no sections."""
    variables = paste_variables()
    path = variables.get("__file__")
    if path is None or not Path(path).is_file():
        return {}
    return celery_sections(path, variables)


def paste_variables() -> dict[str, str]:
    """Return the variables of the ini file that is being loaded: `[DEFAULT]`, `__file__`, `here`, and `pserve`'s `a=b`.

    They are read from PasteDeploy's own call on the stack. PasteDeploy gives them to the application's
    `main(global_config, **settings)`, and applications don't hand `global_config` on to Pyramid. So every other way
    would ask each application for an edit.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == PASTE:
            found: Any = getattr(frame.f_locals.get("context"), "global_conf", None)
            if found is not None:
                return dict(found)
        frame = frame.f_back
    return {}
