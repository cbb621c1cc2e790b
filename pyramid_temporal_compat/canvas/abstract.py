"""Classes for `isinstance`, which tell a task or a signature by its attributes."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable
from typing import Any


class _ByAttributes(metaclass=ABCMeta):  # noqa: B024  # no method is abstract: attributes decide
    """Counts a class as a subclass if it is registered, or has all required attributes."""

    __required_attributes__: frozenset[str] = frozenset()

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        required = cls.__dict__.get("__required_attributes__")
        if not required:
            return NotImplemented
        return all(any(name in base.__dict__ for base in other.__mro__) for name in required) or NotImplemented


class CallableTask(_ByAttributes):
    """A task: it can be called here, or sent to a worker."""

    __required_attributes__ = frozenset({"__call__", "delay", "apply_async", "apply"})

    __call__: Callable[..., Any]
    delay: Callable[..., Any]
    apply_async: Callable[..., Any]
    apply: Callable[..., Any]


class CallableSignature(CallableTask):
    """A signature: a call as a value, which can be part of a canvas."""

    __required_attributes__ = frozenset({"clone", "freeze", "set", "link", "link_error", "__or__"})

    clone: Callable[..., Any]
    freeze: Callable[..., Any]
    set: Callable[..., Any]
    link: Callable[..., Any]
    link_error: Callable[..., Any]
    _app: Any
