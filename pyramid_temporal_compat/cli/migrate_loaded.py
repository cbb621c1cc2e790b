"""Loads the application that `migrate audit` names, under Celery's names, so that it need not have been moved yet."""

from __future__ import annotations

from ..app import current_app
from ..as_celery import install_as_celery
from ..exceptions import CeleryError
from ..interfaces import AppLike
from ..migrate.audit import Audit
from ..migrate.loaded import add_application as add_loaded
from ..migrate.loaded import not_loaded
from ..worker.task_modules import load_tasks
from .bootstrap import NotIncluded, application
from .common import Common
from .errors import loading


def add_application(common: Common, ini: str | None, app: str | None, result: Audit) -> None:
    """Add what the loaded application tells. An application that can't be loaded is a finding."""
    common.name_app(app)
    path = (ini or app or "").partition("#")[0]
    try:
        add_loaded(loaded(common, ini, path), path, result)
    except CeleryError as error:
        result.add([not_loaded(path, error)])


def loaded(common: Common, ini: str | None, path: str) -> AppLike:
    """Return the app of the ini or of `-A`. If the ini does not include the package, return the current app."""
    install_as_celery()
    try:
        found = application(common, ini)
    except NotIncluded:
        found = current_app()
        if not found.tasks:
            raise
    with loading(path, debug=False):
        load_tasks(found)
    return found
