"""Lists every public Celery name that this package refuses."""

from __future__ import annotations

from .. import control, settings
from ..celery_names.refused import MEMBERS, MODULES, NAMES


def unsupported() -> dict[str, str]:
    """Return each public Celery name that is refused here, with the reason and what to use instead.

    A key is a dotted name. A key that ends in `.*` stands for every name below it. A setting is `conf.<setting>`.
    """
    modules = {f"{module}.*": sentence for module, sentence in MODULES.items()}
    return {**NAMES, **MEMBERS, **modules, **control.UNSUPPORTED, **settings.unsupported()}
