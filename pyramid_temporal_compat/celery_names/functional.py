"""The small helpers of `celery.utils` and `kombu.utils.functional` that applications import."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")


def noop(*args: Any, **kwargs: Any) -> None:
    """Do nothing, with any arguments."""


def chunks(it: Iterator[T], n: int) -> Iterator[list[T]]:
    """Yield lists of `n` items each from the iterator `it`. The last list may be shorter."""
    for item in it:
        yield [item, *islice(it, n - 1)]


def first(predicate: Callable[[Any], Any] | None, it: Iterable[Any]) -> Any:
    """Return the first item for which the predicate is true; without a predicate, the first that is not None.

    Return None if no item matches.
    """
    wanted = predicate or (lambda item: item is not None)
    return next((item for item in it if wanted(item)), None)


def uniq(it: Iterable[Any]) -> Iterator[Any]:
    """Return an iterator of the items without repetitions, in their order."""
    return iter(dict.fromkeys(it))


def padlist(container: Iterable[Any], size: int, default: Any = None) -> list[Any]:
    """Return the first `size` items as a list, filled up with `default`."""
    found = list(container)[:size]
    return found + [default] * (size - len(found))


def mattrgetter(*attrs: str) -> Callable[[Any], dict[str, Any]]:
    """Return a function that returns these attributes of an object as a dict. A missing attribute is None."""
    return lambda obj: {name: getattr(obj, name, None) for name in attrs}


def is_list(obj: Any, scalars: tuple[type, ...] = (Mapping, str), iters: tuple[type, ...] = (Iterable,)) -> bool:
    """Return whether `obj` is iterable, and neither a mapping nor a text."""
    return isinstance(obj, iters) and not isinstance(obj, scalars or ())


def maybe_list(obj: Any, scalars: tuple[type, ...] = (Mapping, str)) -> Any:
    """Return `obj` if it is a list or None; otherwise return `[obj]`."""
    return obj if obj is None or is_list(obj, scalars) else [obj]


def dictfilter(d: Mapping[str, Any] | None = None, **kw: Any) -> dict[str, Any]:
    """Return the entries whose value is not None."""
    return {key: value for key, value in {**(d or {}), **kw}.items() if value is not None}


class lazy:
    """A call that is made each time its value is used."""

    def __init__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._call = functools.partial(fun, *args, **kwargs)

    def evaluate(self) -> Any:
        return self._call()

    def __call__(self) -> Any:
        return self.evaluate()

    def __str__(self) -> str:
        return str(self())

    def __repr__(self) -> str:
        return repr(self())

    def __eq__(self, other: object) -> bool:
        return bool(self() == other)

    __hash__ = None  # type: ignore[assignment]  # it equals its value, which may change

    def __deepcopy__(self, memo: dict[int, Any]) -> lazy:
        return self


class mlazy(lazy):
    """A call that is made once, when its value is first used."""

    evaluated = False
    _value: Any = None

    def evaluate(self) -> Any:
        if not self.evaluated:
            self._value = super().evaluate()
            self.evaluated = True
        return self._value


def maybe_evaluate(value: Any) -> Any:
    """Return the value of a lazy call; return any other object unchanged."""
    return value.evaluate() if isinstance(value, lazy) else value


class LRUCache(UserDict[Any, Any]):
    """A dict of at most `limit` entries. It drops the least recently used entry."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.mutex = threading.RLock()
        self.data: OrderedDict[Any, Any] = OrderedDict()

    def __getitem__(self, key: Any) -> Any:
        with self.mutex:
            value = self.data[key]
            self.data.move_to_end(key)
            return value

    def __setitem__(self, key: Any, value: Any) -> None:
        with self.mutex:
            self.data[key] = value
            self.data.move_to_end(key)
            while self.limit and len(self.data) > self.limit:
                self.data.popitem(last=False)

    def incr(self, key: Any, delta: int = 1) -> int:
        """Add `delta` to a number that is stored as text. Return the sum."""
        with self.mutex:
            number = int(self[key]) + delta
            self[key] = str(number)
            return number

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit, "data": self.data}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, mutex=threading.RLock())


def memoize(
    maxsize: int | None = None, keyfun: Callable[..., Any] | None = None, Cache: Callable[..., Any] = LRUCache
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Return a decorator that caches the results of a function: `@memoize(maxsize=100)`."""

    def decorate(fun: Callable[..., T]) -> Callable[..., T]:
        lock = threading.Lock()
        cache = Cache(limit=maxsize)

        @functools.wraps(fun)
        def remembering(*args: Any, **kwargs: Any) -> T:
            key = keyfun(args, kwargs) if keyfun else (args, tuple(sorted(kwargs.items())))
            with lock:
                try:
                    value: T = cache[key]
                except KeyError:
                    pass
                else:
                    counts.hits += 1
                    return value
            value = fun(*args, **kwargs)
            with lock:
                counts.misses += 1
                cache[key] = value
            return value

        def clear() -> None:
            cache.clear()
            counts.hits = counts.misses = 0

        counts: Any = remembering  # Celery keeps the counts on the function
        counts.hits = counts.misses = 0
        counts.clear = clear
        counts.original_func = fun
        return remembering

    return decorate


class cached_property(functools.cached_property[Any]):
    """A property that keeps its first value. `fset` is called when a value is set, `fdel` when it is deleted."""

    def __init__(
        self,
        fget: Callable[[Any], Any],
        fset: Callable[[Any, Any], Any] | None = None,
        fdel: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        super().__init__(fget)
        self._fset = fset
        self._fdel = fdel
        self._mutex = threading.RLock()

    # Python asks a descriptor with __set__ before the instance's dict, so the kept value is looked up here.
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        with self._mutex:
            name = self.attrname
            return instance.__dict__[name] if name in instance.__dict__ else super().__get__(instance, owner)

    def __set__(self, instance: Any, value: Any) -> None:
        with self._mutex:
            instance.__dict__[self.attrname] = value if self._fset is None else self._fset(instance, value)

    def __delete__(self, instance: Any) -> None:
        with self._mutex:
            missing = object()
            value = instance.__dict__.pop(self.attrname, missing)
            if self._fdel is not None and value is not missing:
                self._fdel(instance, value)

    def setter(self, fset: Callable[[Any, Any], Any]) -> cached_property:
        return type(self)(self.func, fset, self._fdel)

    def deleter(self, fdel: Callable[[Any, Any], Any]) -> cached_property:
        return type(self)(self.func, self._fset, fdel)


def truncate(text: str, maxlen: int = 128, suffix: str = "...") -> str:
    """Cut a text of `maxlen` or more characters at the last word that fits, and add `suffix`."""
    return text[:maxlen].rsplit(" ", 1)[0] + suffix if maxlen and len(text) >= maxlen else text


def indent(text: str, n: int = 0, sep: str = "\n") -> str:
    """Return `text` with each line indented by `n` blanks."""
    return sep.join(" " * n + line for line in text.split(sep))


def pluralize(n: float, text: str, suffix: str = "s") -> str:
    """Return the singular or plural of `text` for `n` things."""
    return text if n == 1 else text + suffix
