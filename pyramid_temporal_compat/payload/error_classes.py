"""Which class an error is rebuilt as: its own, if that is only an error, or else a stand-in of the same name.

Anyone who can write to the server may have written the name of the class and the values that the error holds. So:

- Nothing is imported, and no code of the class runs to make the error: no `__init__`, no setter of a property.
- A class that is more than an error is never used. `get()` raises what it rebuilds, and in a view a raised response
  is what the browser gets, with the body and the headers that came over the wire.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from ..exceptions import UnpickleableExceptionWrapper

ACTS = frozenset(
    (
        *("__call__", "__await__", "__enter__", "__aenter__", "__del__", "__json__", "__html__", "__fspath__"),
        *("app_iter", "get_response", "headerlist", "set_cookie", "status_int", "wsgi_response"),
    )
)
"""Attributes by which other code acts on an object: it is called, rendered, cleaned up, or served as a response."""

RESPONSES = ("IResponse", "IExceptionResponse")
"""Interfaces of `pyramid.interfaces`. Pyramid sends an exception that provides such an interface to the browser."""

NOT_RESTORED = frozenset({"name_from"})
"""Attributes that make Python act when it prints the error: it imports the module that an ImportError names."""

Class = type[BaseException]


def find_class(module: str, name: str) -> Any:
    """Return what the name stands for in a loaded module, or None. No hook of the module or its classes runs.

    Nothing is imported: an application that wants to catch a class has imported it already. Otherwise the sender
    could choose what is imported, for example a script that acts on import.
    """
    found: Any = sys.modules.get(module) if module and name else None
    for part in name.split("."):
        if not isinstance(found, (types.ModuleType, type)):
            return None
        found = vars(found).get(part)
    return found


def is_only_an_error(cls: Class) -> bool:
    """Return whether other code does nothing with an instance of the class but raise, catch and print it."""
    own = [base for base in cls.__mro__ if base.__module__ != "builtins"]
    return not any(vars(base).keys() & ACTS for base in own) and not _is_response(cls)


def _is_response(cls: Class) -> bool:
    interfaces = sys.modules.get("pyramid.interfaces")
    if interfaces is None:
        return False
    return any(getattr(interfaces, name).implementedBy(cls) for name in RESPONSES)


LONGEST_NAME = 200
"""Characters of the names that a stand-in takes over. The classes are kept, and names come from whoever can write."""


def stand_in(module: str, name: str) -> type[Exception]:
    """Return a class for a name that is not used here: one for each name, so that `type(a) is type(b)` holds.

    A traceback prints both names, so a name that Python code can't have is not taken over.
    """
    last = name.rpartition(".")[2]
    return _stand_in(
        module if _is_short(module) and all(part.isidentifier() for part in module.split(".")) else __name__,
        last if _is_short(last) and last.isidentifier() else "RemoteError",
    )


def _is_short(name: str) -> bool:
    return len(name) <= LONGEST_NAME


@functools.lru_cache(maxsize=1024)
def _stand_in(module: str, name: str) -> type[Exception]:
    return type(name, (Exception,), {"__module__": module})


# --- make an error without running code of its class -------------------------------------------------


def make(
    cls: Class,
    args: tuple[Any, ...],
    call: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    state: Mapping[str, Any],
    could_be_called: bool = True,
) -> BaseException | None:
    """Return an error of this class with these `args` and attributes, or None if there can't be one.

    :param call: the arguments by which the error says that its class made it. They may hold more than `args`.
    :param could_be_called: whether the sender could call the class with these arguments.
    """
    used = cls if could_be_called and _takes(cls, call, kwargs) else _marked(typing.cast("typing.Hashable", cls))
    for values, named in ((call, kwargs), (args, {})):
        error = _made_in_c(cls, values, named) or _without_init(used, values)
        if error is None:
            continue
        set_attribute(error, "args", args)
        for name, value in state.items():
            restore(error, name, value)
        return error
    return None


def _made_in_c(cls: Class, values: tuple[Any, ...], named: Mapping[str, Any]) -> BaseException | None:
    """Return the error as Python's own class makes it, if no Python code runs for that."""
    in_c = isinstance(cls.__init__, types.WrapperDescriptorType) and isinstance(cls.__new__, types.BuiltinFunctionType)
    if not in_c or type(cls).__call__ is not type.__call__:
        return None
    try:
        return cls(*values, **named)
    except Exception:
        return None


def _without_init(cls: Class, values: tuple[Any, ...]) -> BaseException | None:
    """Return the error as Python's own base class makes it. The `__init__` of the class itself does not run."""
    builtin: Any = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    try:
        error = builtin.__new__(cls, *values)
        if isinstance(error, cls):
            builtin.__init__(error, *values)
            return error
    except Exception:  # values that the base class does not take, or a layout of its own
        pass
    return None


def _takes(cls: Class, call: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    try:
        inspect.signature(cls.__init__).bind(None, *call, **kwargs)
    except (TypeError, ValueError):
        return False
    return True


@functools.lru_cache(maxsize=1024)
def _marked(cls: Any) -> Any:
    """Return a class that is both `cls` and Celery's stand-in for it, because an application may catch either."""
    if issubclass(cls, OSError) or cls.__module__ == "builtins":
        return cls
    try:
        return type(
            cls.__name__,
            (cls, UnpickleableExceptionWrapper),
            {"__module__": cls.__module__, "__qualname__": cls.__qualname__},
        )
    except TypeError:  # the two classes' layouts conflict, or the class allows no subclasses
        return cls


def restore(error: BaseException, name: str, value: Any) -> None:
    """Give the error an attribute, without running code of its class."""
    if name in NOT_RESTORED or (name.startswith("__") and name.endswith("__")):
        return
    found = inspect.getattr_static(type(error), name, None)
    if isinstance(found, (types.MemberDescriptorType, types.GetSetDescriptorType)):
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            set_attribute(error, name, value)
    elif not callable(found):
        error.__dict__[name] = value


def set_attribute(error: BaseException, name: str, value: Any) -> None:
    """Set an attribute even if the class guards its attributes, as a frozen dataclass does."""
    object.__setattr__(error, name, value)
