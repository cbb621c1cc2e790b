"""Evaluate annotations, as many as possible."""

from __future__ import annotations

import contextlib
import inspect
import sys
import types
import typing
from typing import Any


def hints_of(thing: Any) -> dict[str, Any]:
    """Return the evaluated annotations of a function or class. An annotation with an unknown name is left out."""
    try:
        return typing.get_type_hints(thing, include_extras=False)
    except Exception:
        pass  # one unknown name, imported for type checkers only, made all fail: evaluate them one by one
    hints: dict[str, Any] = {}
    for owner in reversed(thing.__mro__) if isinstance(thing, type) else [thing]:
        names = getattr(owner, "__globals__", None) or vars(sys.modules.get(owner.__module__, types))
        inner = dict(vars(owner)) if isinstance(owner, type) else None
        for name, annotation in _raw_annotations(owner).items():
            holder = types.SimpleNamespace(__annotations__={name: annotation})
            with contextlib.suppress(Exception):
                hints.update(typing.get_type_hints(holder, names, inner))
    return hints


def _raw_annotations(owner: Any) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib  # from 3.14 on

        return annotationlib.get_annotations(owner, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(owner)
