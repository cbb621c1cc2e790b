"""`current_app` and `current_task`: proxies for the app and the task that are current when they are used."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..context import Context, current_frame, pop, push, request_of, worker_frame
from ..current import current_app as _app_now

if TYPE_CHECKING:
    from ..interfaces import AppLike, TaskLike


class Proxy:
    """Stands for the object that `local(*args, **kwargs)` returns at the time of use."""

    def __init__(
        self,
        local: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        __doc__: str | None = None,
    ) -> None:
        object.__setattr__(self, "_Proxy__local", local)
        object.__setattr__(self, "_Proxy__args", tuple(args or ()))
        object.__setattr__(self, "_Proxy__kwargs", dict(kwargs or {}))
        if name is not None:
            object.__setattr__(self, "__name__", name)
        if __doc__ is not None:
            object.__setattr__(self, "__doc__", __doc__)

    def _get_current_object(self) -> Any:
        """Return the object that the proxy stands for now."""
        return self.__local(*self.__args, **self.__kwargs)

    @property  # type: ignore[misc]  # so that isinstance() sees the object's class
    def __class__(self) -> Any:
        return self._get_current_object().__class__

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return self._get_current_object().__dict__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._get_current_object(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._get_current_object()(*args, **kwargs)

    def __dir__(self) -> Any:
        return dir(self._get_current_object())

    def __enter__(self) -> Any:
        return self._get_current_object().__enter__()

    def __exit__(self, *error: Any) -> Any:
        return self._get_current_object().__exit__(*error)

    def __reduce__(self) -> Any:
        return self._get_current_object().__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._get_current_object().__reduce_ex__(protocol)


def _forward(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args: function(self._get_current_object(), *args)


# Python looks up these methods on the class, never through __getattr__.
for _name, _function in {
    **{f"__{name}__": getattr(operator, name) for name in ("lt", "le", "eq", "ne", "gt", "ge", "contains")},
    **{f"__{name}__": getattr(operator, name) for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")},
    **{f"__{name}__": getattr(operator, name) for name in ("and_", "or_", "xor", "lshift", "rshift")},
    **{f"__{name}__": getattr(operator, name) for name in ("neg", "pos", "abs", "invert", "index")},
    **{f"__{name}__": getattr(operator, name) for name in ("getitem", "setitem", "delitem")},
    "__bool__": bool,
    "__hash__": hash,
    "__int__": int,
    "__float__": float,
    "__complex__": complex,
    "__iter__": iter,
    "__len__": len,
    "__repr__": repr,
    "__str__": str,
    "__divmod__": divmod,
}.items():
    setattr(Proxy, _name.replace("___", "__"), _forward(_function))


class CurrentApp(Proxy):
    """A proxy for the current app. A call returns the app itself."""

    def __call__(self) -> Any:
        return self._get_current_object()


class PromiseProxy(Proxy):
    """A proxy that calls `local` once and keeps the object."""

    def _get_current_object(self) -> Any:
        try:
            return object.__getattribute__(self, "_PromiseProxy__thing")
        except AttributeError:
            thing = super()._get_current_object()
            object.__setattr__(self, "_PromiseProxy__thing", thing)
            return thing

    def __maybe_evaluate__(self) -> Any:
        return self._get_current_object()


def maybe_evaluate(thing: Any) -> Any:
    """Return the object of a `PromiseProxy`; return any other object unchanged."""
    return thing._get_current_object() if type(thing) is PromiseProxy else thing


def try_import(module: str, default: Any = None) -> ModuleType | Any:
    """Import and return a module; return `default` if it can't be imported."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return default


def get_current_app() -> AppLike:
    """Return the current app."""
    return _app_now()


def app_or_default(app: AppLike | None = None) -> AppLike:
    """Return `app`; if it is None, return the current app."""
    return app if app is not None else _app_now()


def get_current_task() -> TaskLike | None:
    """Return the task that runs here, even if it was called directly."""
    frame = current_frame()
    return frame[0] if frame else None


def get_current_worker_task() -> TaskLike | None:
    """Return the task that the worker started here, even while it calls another task directly."""
    frame = worker_frame()
    return frame[0] if frame else None


def push_current_task(task: TaskLike) -> None:
    """Make this task the current task, until `pop_current_task()`."""
    push(task, request_of(task) or Context())


def pop_current_task() -> TaskLike | None:
    """Undo `push_current_task`, and return the task."""
    task = get_current_task()
    pop()
    return task


current_app: Any = CurrentApp(get_current_app, name="current_app")
default_app: Any = Proxy(get_current_app, name="default_app")
current_task: Any = Proxy(get_current_task, name="current_task")
