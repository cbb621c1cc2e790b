"""Calls a task for many arguments: `map` and `starmap` in one run, `chunks` in a group of such runs."""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..exceptions import InvalidCall
from .group import group
from .planner import Lineage, Planned, Planner
from .signature import Options, Signature

if TYPE_CHECKING:
    from ..interfaces import AppLike

_brief = reprlib.Repr()
_brief.maxlist = _brief.maxtuple = 20
_brief.maxother = _brief.maxstring = 100


class _basemap(Signature):
    """The common part of `map` and `starmap`."""

    _task_name: str
    _form = ""

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: AppLike | None = None) -> Any:
        return cls(d["kwargs"]["task"], d["kwargs"]["it"], app=app, **d["options"])

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        super().__init__(self._task_name, (), {"task": task, "it": to_sequence(it)}, immutable=True, **options)

    def apply_async(self, args: Any = None, kwargs: Any = None, **opts: Any) -> Any:
        """Send one run that calls the task for each argument. Its result is the list of results."""
        return super().apply_async(**self._routed(opts))

    def _plan(self, planner: Planner, args: Any, kwargs: Any, options: Options, lineage: Lineage) -> Planned:
        return super()._plan(planner, args, kwargs, self._routed(options), lineage)

    def _routed(self, options: Options) -> dict[str, Any]:
        """Return the options with the task's route, so that the run goes to the same queue as the task."""
        name = options.get("route_name") or self.options.get("route_name") or name_of(self.kwargs["task"])
        return {**options, "route_name": name}

    def __repr__(self) -> str:
        return f"[{name_of(self.kwargs['task'])}({self._form}) for x in {_brief.repr(self.kwargs['it'])}]"


@Signature.register_type()
class xmap(_basemap):
    """`task.map(it)`: `[task(x) for x in it]` as one task."""

    _task_name = "celery.map"
    _form = "x"


@Signature.register_type()
class xstarmap(_basemap):
    """`task.starmap(it)`: `[task(*x) for x in it]` as one task."""

    _task_name = "celery.starmap"
    _form = "*x"


@Signature.register_type()
class chunks(Signature):
    """`task.chunks(it, n)`: a group of `starmap` runs, each for `n` of the arguments."""

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: AppLike | None = None) -> Any:
        kwargs = d["kwargs"]
        return cls(kwargs["task"], kwargs["it"], kwargs["n"], app=app, **d["options"])

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        super().__init__("celery.chunks", (), {"task": task, "it": to_sequence(it), "n": n}, immutable=True, **options)

    def __call__(self, **options: Any) -> Any:
        return self.apply_async(**options)

    def apply_async(self, args: Any = None, kwargs: Any = None, **opts: Any) -> Any:
        """Send all chunks. Return a `GroupResult`."""
        return self.group().apply_async(args, kwargs, **{"route_name": name_of(self.kwargs["task"]), **opts})

    def group(self) -> Any:
        """Return the group of `starmap` runs."""
        n = self.kwargs["n"]
        if not isinstance(n, int) or n < 1:
            raise InvalidCall(f"chunks: n={n!r}; it takes the number of arguments in a chunk, 1 or more")
        parts = split_every(self.kwargs["it"], n)
        return group([xstarmap(self.kwargs["task"], part, app=self._app) for part in parts], app=self._app)

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: AppLike | None = None) -> Any:
        """Make the chunks, and send them."""
        return cls(task, it, n, app=app)()


def split_every(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of `size` values each. The last list may be shorter."""
    iterator = iter(values)
    while lot := list(itertools.islice(iterator, size)):
        yield lot


def to_sequence(it: Iterable[Any]) -> Any:
    """Return a list or tuple as it is, and any other iterable as a list."""
    return it if isinstance(it, (list, tuple)) else list(it)


def name_of(task: Any) -> Any:
    """Return the name of a task or a signature. A signature may be a plain dict."""
    return task["task"] if isinstance(task, dict) else getattr(task, "name", task)
