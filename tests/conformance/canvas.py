"""Until this package has a canvas: names that let the suite be imported. To use one fails the test."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NoReturn


class NoCanvas(Exception):
    """The test uses the canvas."""


class Placeholder:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NoCanvas(type(self).__name__)

    @classmethod
    def from_dict(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise NoCanvas(cls.__name__)


NAMES = ("Signature", "StampingVisitor", "chain", "chord", "chunks", "group", "signature")


def install() -> None:
    import celery

    module = ModuleType("celery.canvas")
    for name in NAMES:
        placeholder = type(name, (Placeholder,), {})
        setattr(module, name, placeholder)
        setattr(celery, name, placeholder)
    sys.modules["celery.canvas"] = module
    celery.canvas = module  # type: ignore[attr-defined]
