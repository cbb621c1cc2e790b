"""Celery's names: `install_as_celery()`, and `unsupported()` for those that are refused."""

from .finder import CeleryImportedFirst, install_as_celery, uninstall
from .refused import Unsupported, unsupported

__all__ = ["CeleryImportedFirst", "Unsupported", "install_as_celery", "uninstall", "unsupported"]
