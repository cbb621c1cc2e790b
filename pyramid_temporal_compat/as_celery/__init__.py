"""Runs a Celery application without an edit: `install_as_celery()` makes `import celery` find this package."""

from .. import control, settings
from ..celery_names.refused import MEMBERS, MODULES, NAMES, Unsupported
from ..celery_names.refused_commands import REFUSED_COMMANDS
from .finder import CeleryImportedFirst, install_as_celery, uninstall
from .program import app_factory

__all__ = ["CeleryImportedFirst", "Unsupported", "app_factory", "install_as_celery", "uninstall", "unsupported"]


def unsupported() -> dict[str, str]:
    """Return each public Celery name that is refused here, with the reason and what to use instead.

    A key is a dotted name. A key that ends in `.*` stands for every name below it. A setting is `conf.<setting>`. A
    command of `celery` is `celery.<command>.*`.
    """
    commands = {f"celery.{name.replace(' ', '.')}.*": sentence for name, sentence in REFUSED_COMMANDS.items()}
    modules = {f"{module}.*": sentence for module, sentence in MODULES.items()}
    return {**NAMES, **MEMBERS, **modules, **control.UNSUPPORTED, **commands, **settings.unsupported()}
