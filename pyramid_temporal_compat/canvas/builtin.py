"""The built-in tasks of every app, under Celery's names, such as `celery.chunks`."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, NoReturn

from ..exceptions import InvalidCall
from ..results.result import result_from_tuple
from .chord import chord
from .group import group
from .maps import chunks
from .signature import maybe_signature, signature

if TYPE_CHECKING:
    from ..interfaces import AppLike, TaskLike


def add_to(app: AppLike, tasks: MutableMapping[str, Any]) -> None:
    """Add the built-in tasks to an app, except those whose names the app uses for its own tasks."""
    for name, (function, bind) in BUILTIN.items():
        if name not in tasks:
            tasks[name] = app.make_builtin(function, name, bind)


def _backend_cleanup(self: TaskLike) -> None:
    self.app.backend.cleanup()


def _accumulate(*args: Any, **kwargs: Any) -> Any:
    index = kwargs.get("index")
    return args if index is None else args[index]


def _map(self: TaskLike, task: Any, it: Any) -> list[Any]:
    called = signature(task, app=self.app).type
    return [called(value) for value in it]


def _starmap(self: TaskLike, task: Any, it: Any) -> list[Any]:
    called = signature(task, app=self.app).type
    return [called(*values) for values in it]


def _chunks(self: TaskLike, task: Any, it: Any, n: int) -> Any:
    return chunks.apply_chunks(maybe_signature(task, app=self.app), it, n, app=self.app)


def _group(
    self: TaskLike, tasks: Any, result: Any, group_id: str, partial_args: Any, add_to_parent: bool = True
) -> Any:
    members = [maybe_signature(task, app=self.app) for task in tasks]
    group(members, app=self.app).apply_async(partial_args, task_id=group_id, add_to_parent=add_to_parent)
    return result_from_tuple(result, self.app)


def _chord(self: TaskLike, header: Any, body: Any, partial_args: Any = (), **kwargs: Any) -> Any:
    members = [maybe_signature(task, app=self.app) for task in (header.tasks if isinstance(header, group) else header)]
    return chord(members, app=self.app).apply_async(partial_args, {"body": maybe_signature(body, app=self.app)})


def _chain(*args: Any, **kwargs: Any) -> NoReturn:
    raise InvalidCall("the task celery.chain can't be called by its name; write chain(a, b) or a | b, and call that")


def _chord_unlock(*args: Any, **kwargs: Any) -> NoReturn:
    raise InvalidCall(
        "the task celery.chord_unlock can't be called: a chord's workflow waits for its header; remove the call"
    )


BUILTIN: dict[str, tuple[Callable[..., Any], bool]] = {
    "celery.accumulate": (_accumulate, False),
    "celery.backend_cleanup": (_backend_cleanup, True),
    "celery.chain": (_chain, False),
    "celery.chord": (_chord, True),
    "celery.chord_unlock": (_chord_unlock, False),
    "celery.chunks": (_chunks, True),
    "celery.group": (_group, True),
    "celery.map": (_map, True),
    "celery.starmap": (_starmap, True),
}
