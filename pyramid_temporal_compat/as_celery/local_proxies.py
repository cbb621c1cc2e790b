"""`current_app` and `current_task`: names that mean another object at another moment."""

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
    """Stands for whatever `local(*args, **kwargs)` gives at the moment of use."""

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
        """The object that is meant now."""
        return self.__local(*self.__args, **self.__kwargs)

    @property  # type: ignore[misc]  # so that isinstance() sees the class of the object that is meant
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


# Python looks these up on the class, never through __getattr__.
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
    """The current app; called, it gives the app itself."""

    def __call__(self) -> Any:
        return self._get_current_object()


class PromiseProxy(Proxy):
    """A proxy that asks once, and keeps what it got."""

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
    """What a promise stands for; anything else as it is."""
    return thing._get_current_object() if type(thing) is PromiseProxy else thing


def try_import(module: str, default: Any = None) -> ModuleType | Any:
    """The module of this name, or `default` if there is none."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return default


def get_current_app() -> AppLike:
    return _app_now()


def app_or_default(app: AppLike | None = None) -> AppLike:
    """`app`, or the current one if it is None."""
    return app if app is not None else _app_now()


def get_current_task() -> TaskLike | None:
    """The task that runs here, also one that was called directly."""
    frame = current_frame()
    return frame[0] if frame else None


def get_current_worker_task() -> TaskLike | None:
    """The task that the worker runs here, past those that it calls directly."""
    frame = worker_frame()
    return frame[0] if frame else None


def push_current_task(task: TaskLike) -> None:
    """Have this task be the current one, until `pop_current_task()`."""
    push(task, request_of(task) or Context())


def pop_current_task() -> TaskLike | None:
    """End what `push_current_task` began; gives the task."""
    task = get_current_task()
    pop()
    return task


current_app: Any = CurrentApp(get_current_app, name="current_app")
default_app: Any = Proxy(get_current_app, name="default_app")
current_task: Any = Proxy(get_current_task, name="current_task")
