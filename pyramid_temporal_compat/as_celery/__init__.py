"""Runs a Celery application without an edit: `install_as_celery()` makes `import celery` find this package."""

from ..celery_names.refused import Unsupported
from .finder import CeleryImportedFirst, install_as_celery, uninstall
from .program import app_factory
from .unsupported import unsupported

__all__ = ["CeleryImportedFirst", "Unsupported", "app_factory", "install_as_celery", "uninstall", "unsupported"]
