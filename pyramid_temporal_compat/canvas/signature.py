"""Signatures: calls as values. A signature is a dict, so it travels as JSON."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from ..celery_names.lists import as_list
from ..current import current_app
from ..exceptions import InvalidCall
from ..interfaces import R
from ..message.ids import new_id
from .abstract import CallableSignature, CallableTask
from .planner import Lineage, Place, Planned, PlannedCall, Planner
from .stamps import StampingVisitor, merged_stamps
from .tree_ids import Ids

if TYPE_CHECKING:
    from ..interfaces import AppLike, TaskLike
    from ..results.result import AsyncResult

Options = Mapping[str, Any]


class Item:
    """An attribute of a signature that reads and sets an item of its dict: `kwargs.tasks` is `["kwargs"]["tasks"]`."""

    def __init__(self, path: str, doc: str) -> None:
        self.within, _, self.key = path.rpartition(".")
        self.__doc__ = doc

    def __get__(self, signature: Any, owner: Any = None) -> Any:
        return self if signature is None else self._holder(signature).get(self.key)

    def __set__(self, signature: Any, value: Any) -> None:
        self._holder(signature)[self.key] = value

    def _holder(self, signature: Any) -> Any:
        return signature[self.within] if self.within else signature


@CallableSignature.register
class Signature(dict[str, Any], Generic[R]):
    """A task with arguments and options of `apply_async`. Chains, groups and chords are subclasses.

    The keys are Celery's: task, args, kwargs, options, subtask_type, immutable.
    """

    TYPES: ClassVar[dict[str, type[Signature]]] = {}
    """The subclasses, by their `subtask_type`."""
    _IMMUTABLE_OPTIONS: ClassVar[frozenset[str]] = frozenset({"group_id", "stamped_headers"})
    _app: Any = None
    _type: Any = None

    id = Item("options.task_id", "The id of the task, after freezing.")
    parent_id = Item("options.parent_id", "The id of the task that called it.")
    root_id = Item("options.root_id", "The id of the first task of the tree.")
    task: Any = Item("task", "The task's name.")
    args: Any = Item("args", "The positional arguments.")
    kwargs: Any = Item("kwargs", "The named arguments.")
    options: Any = Item("options", "The options of `apply_async`.")
    subtask_type: Any = Item("subtask_type", "The kind of canvas; None for a single task.")
    immutable: Any = Item("immutable", "Whether the task gets only its own arguments.")

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[Any], Any]:
        """Return a class decorator. Signatures with this `subtask_type` are made of the decorated class."""

        def register(subclass: Any) -> Any:
            cls.TYPES[name or subclass.__name__] = subclass
            return subclass

        return register

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: AppLike | None = None) -> Any:
        """Return the signature that a dict describes."""
        kind = d.get("subtask_type")
        if kind and (target := cls._kind(kind)) is not cls:
            return target.from_dict(d, app=app)
        return Signature(d, app=app)

    @classmethod
    def _kind(cls, kind: str) -> type[Signature]:
        try:
            return cls.TYPES[kind]
        except KeyError:
            raise InvalidCall(
                f"subtask_type={kind!r} is unknown; the types are {', '.join(sorted(cls.TYPES))}; "
                "add a type with Signature.register_type()"
            ) from None

    def __init__(
        self,
        task: Any = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Options | None = None,
        type: Any = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: AppLike | None = None,
        **ex: Any,
    ) -> None:
        self._app = app
        if isinstance(task, dict):
            super().__init__(task)
            return
        if hasattr(task, "name"):
            self._type, task = task, task.name
        super().__init__(
            task=task,
            args=tuple(args or ()),
            kwargs=kwargs or {},
            options={**(options or {}), **ex},
            subtask_type=subtask_type,
            immutable=immutable,
        )

    # --- calling -----------------------------------------------------------------------------------

    def __call__(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        """Call the task here and now, and return its value."""
        args, kwargs, _ = self._merge(partial_args, partial_kwargs)
        return self.type(*args, **kwargs)

    def delay(self, *partial_args: Any, **partial_kwargs: Any) -> AsyncResult[R]:
        """Send the call with these arguments, and no options."""
        return self.apply_async(partial_args, partial_kwargs)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the task here and now. Return a result that is ready."""
        args, kwargs, options = self._merge(args, kwargs, _without_none(options))
        return self.type.apply(args, kwargs, **options)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[R]:
        """Send the call. The arguments go before the signature's own; the options override its own."""
        args, kwargs, options = self._merge(args, kwargs, _without_none(options))
        result: AsyncResult[R] = self._apply_async(args, kwargs, **options)
        return result

    def _merge(
        self, args: Any = None, kwargs: Any = None, options: Options | None = None, force: bool = False
    ) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Return arguments and options: the given arguments before its own, and the given options over its own.

        Its stamps and its group are never overridden.
        """
        merged = self.options
        if options is not None:
            fixed = self._IMMUTABLE_OPTIONS.union(self.options.get("stamped_headers") or ())
            merged = {
                **self.options,
                **{key: value for key, value in options.items() if key not in fixed or key not in self.options},
            }
        if self.immutable and not force:
            return self.args, self.kwargs, merged
        return (
            (*args, *self.args) if args else self.args,
            {**self.kwargs, **kwargs} if kwargs else self.kwargs,
            merged,
        )

    def _plan(self, planner: Planner, args: Any, kwargs: Any, options: Options, lineage: Lineage) -> Planned:
        args, kwargs, merged = self._merge(args, kwargs, _without_none(options))
        return planner.leaf(self, args, kwargs, merged, lineage)

    # --- copies ------------------------------------------------------------------------------------

    def clone(self, args: Any = None, kwargs: Any = None, **opts: Any) -> Any:
        """Return a copy with more arguments and options."""
        args, kwargs, options = self._merge(args, kwargs, opts or None)
        made = Signature.from_dict(
            {
                "task": self.task,
                "args": tuple(args),
                # A shallow copy, because `chunks` and `map` keep live objects in it.
                "kwargs": dict(kwargs),
                "options": deepcopy(options),
                "subtask_type": self.subtask_type,
                "immutable": self.immutable,
            },
            app=self._app,
        )
        made._type = self._type
        return made

    partial = clone

    def replace(self, args: Any = None, kwargs: Any = None, options: Options | None = None) -> Any:
        """Return a copy with other arguments or options in place of its own."""
        made = self.clone()
        for name, value in {"args": args, "kwargs": kwargs, "options": options}.items():
            if value is not None:
                setattr(made, name, value)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        made = memo[id(self)] = dict(self)
        made["options"] = deepcopy(self.options, memo)
        return made

    def __reduce__(self) -> Any:
        return signature, (dict(self),)

    def __json__(self) -> dict[str, Any]:
        return dict(self)

    # --- options -----------------------------------------------------------------------------------

    def set(self, immutable: bool | None = None, **options: Any) -> Any:
        """Set options, and whether the task gets only its own arguments. Return this signature."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Set whether the task gets only its own arguments."""
        self.immutable = immutable

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Give this signature and every task in it an id now. Return the result that it will have."""
        place = Place(_id, group_id, group_index, root_id, parent_id)
        if chord:
            self.options["chord"] = chord
        return self._freeze_at(Ids(), place)

    def _freeze_at(self, ids: Ids, place: Place) -> Any:
        """Freeze the signature, with an id of this tree and the ids around it. Return its result."""
        options = self.options
        options["task_id"] = ids.claim(options.get("task_id"), place.id)
        if place.root_id:
            options["root_id"] = place.root_id
        if place.parent_id:
            options["parent_id"] = place.parent_id
        if place.group_id:
            options.setdefault("group_id", place.group_id)
        if place.group_index is not None:
            options["group_index"] = place.group_index
        return self.AsyncResult(options["task_id"])

    def _freeze(self, *args: Any, **kwargs: Any) -> Any:
        return self.freeze(*args, **kwargs)

    def _result_id(self) -> str | None:
        """Return the id of its result; None before freezing."""
        found: str | None = self.options.get("task_id")
        return found

    def _with_list_option(self, key: str) -> Any:
        items = self.options.setdefault(key, [])
        if not isinstance(items, MutableSequence):
            items = self.options[key] = [items]
        return items

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Add a value to an option that holds a list, and return the value."""
        items = self._with_list_option(key)
        if value not in items:
            items.append(value)
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Add values to an option that holds a list."""
        self._with_list_option(key).extend(as_list(value))

    def link(self, callback: Any) -> Any:
        """Run `callback` with the result if the task succeeds. Return the callback."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Run `errback` if the task fails. Return the errback."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Any) -> Any:
        """Run `errback` if the task fails. Return this signature."""
        self.link_error(errback)
        return self

    def flatten_links(self) -> list[Any]:
        """Return this signature, its callbacks, and the callbacks of these."""
        return [self, *(found for link in as_list(self.options.get("link")) for found in link.flatten_links())]

    # --- stamps --------------------------------------------------------------------------------------

    def stamp(self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Put stamps on this signature, its callbacks and its errbacks."""
        self.stamp_links(visitor, append_stamps, **headers)
        found = None if visitor is None else visitor.on_signature(self, **headers) or {}
        return self.set(**self._stamp_headers(found, append_stamps, **headers))

    def stamp_links(self, visitor: StampingVisitor | None, append_stamps: bool = False, **headers: Any) -> None:
        """Put stamps on the callbacks and errbacks of this signature."""
        for option, event in (("link", "on_callback"), ("link_error", "on_errback")):
            stamps = deepcopy(headers)
            for link in as_list(self.options.get(option)):
                link = maybe_signature(link, app=self.app)
                found = None if visitor is None else getattr(visitor, event)(link, **stamps) or {}
                stamps = self._stamp_headers(found, append_stamps, self_headers=False, **stamps)
                link.stamp(visitor, append_stamps, **stamps)

    def _stamp_headers(
        self,
        visitor_headers: Options | None = None,
        append_stamps: bool = False,
        self_headers: bool = True,
        **headers: Any,
    ) -> dict[str, Any]:
        return merged_stamps(headers, visitor_headers, self.options if self_headers else None, append_stamps)

    # --- putting together ----------------------------------------------------------------------------

    if TYPE_CHECKING:  # otherwise a type checker uses the dict's method

        def __ror__(self, other: Any) -> Any: ...

    def __or__(self, other: Any) -> Any:
        """Return a chain: this signature, then `other` with its result."""
        if not isinstance(other, Signature):
            return NotImplemented
        chain: Any = Signature.TYPES["chain"]
        if isinstance(other, chain):
            return chain(self, *other.unchain_tasks(), app=self._app)
        return chain(self, unwrapped(other), app=self._app)

    def __ior__(self, other: Any) -> Any:  # the dict's method would take over the other's items
        return self.__or__(other)

    def __invert__(self) -> Any:
        return self.apply_async().get()

    def election(self) -> Any:
        """Send the call with one fixed id, so that only one of the workers that got a broadcast runs it."""
        options = {} if self.options.get("task_id") else {"task_id": new_id()}
        return self.clone(**options).apply_async()

    # --- the object ----------------------------------------------------------------------------------

    @property
    def app(self) -> Any:
        """Return the app of this signature; without one, the current app."""
        return self._app or current_app()

    @functools.cached_property
    def type(self) -> TaskLike:
        """Return the task. Raise `NotRegistered` if it is not registered here."""
        found: TaskLike = self._type or self.app.tasks[self["task"]]
        return found

    @property
    def AsyncResult(self) -> Any:
        """Return the result class of the task, or of the app if the task is not registered here."""
        try:
            return self.type.AsyncResult
        except KeyError:
            return self.app.AsyncResult

    @property
    def _apply_async(self) -> Any:
        try:
            return self.type.apply_async
        except KeyError:
            return functools.partial(self.app.send_task, self["task"])

    def _plan_call(self, call: PlannedCall, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Make the message of this call for a canvas. Return the call's result."""
        try:
            task = self.type
        except KeyError:  # not registered here: only the name of the task is known
            name = self["task"]
            message, *linked = self.app.message(name, args, kwargs, options, None)
            call.take(message, *linked)
            return self.app.AsyncResult(message.id, task_name=message.task)
        return task.plan_call(call, args, kwargs, options)

    @property
    def name(self) -> Any:
        """Return the task's name, under the attribute that tasks have."""
        return self.task

    def items(self) -> Iterator[tuple[str, Any]]:  # type: ignore[override]
        """Yield the items. A key in bytes becomes a text."""
        for key, value in super().items():
            yield key.decode() if isinstance(key, bytes) else key, value

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call as Python code would write it."""
        args, kwargs, _ = self._merge(args, kwargs, {}, force=True)
        written = [*map(_safe_repr, args), *(f"{key}={_safe_repr(value)}" for key, value in kwargs.items())]
        return f"{self['task']}({', '.join(written)})"

    def __repr__(self) -> str:
        return self.reprcall()

    __class_getitem__: Any = classmethod(types.GenericAlias)


def signature(varies: Any, *args: Any, **kwargs: Any) -> Any:
    """Return a signature of a task, of a task's name or of a dict. Of a signature, return a copy."""
    if isinstance(varies, dict):
        if isinstance(varies, CallableSignature):
            return varies.clone()
        return Signature.from_dict(varies, app=kwargs.get("app"))
    return Signature(varies, *args, **kwargs)


subtask = signature


def maybe_signature(d: Any, app: AppLike | None = None, clone: bool = False) -> Any:
    """Return a signature of a dict. A signature is returned as it is, or copied with `clone`; None stays None."""
    if d is None:
        return None
    made: Any = d
    if isinstance(d, CallableSignature):
        made = d.clone() if clone else d
    elif isinstance(d, dict):
        made = signature(d)
    if app is not None:
        made._app = app
    return made


maybe_subtask = maybe_signature


def is_signature(found: Any) -> bool:
    """Tell whether this is a signature, or the dict of one."""
    return isinstance(found, (CallableSignature, dict))


def no_signature(kind: str, found: Any) -> InvalidCall:
    """Return the error for `found`, which was given to `kind` (such as `group()`) in place of a signature."""
    if isinstance(found, CallableTask):
        name = str(getattr(found, "name", "task"))
        return InvalidCall(f"{kind} takes signatures; {name} is a task: write {name.rpartition('.')[2]}.s(...)")
    return InvalidCall(f"{kind} takes signatures, such as task.s(1); {found!r} is {type(found).__name__}")


def unwrapped(found: Any) -> Any:
    """Return the member of a group of one; return any other signature unchanged."""
    if isinstance(found, Signature.TYPES["group"]):
        tasks = found.tasks  # type: ignore[attr-defined]
        return tasks[0] if len(tasks) == 1 else found
    return found


def without_module(first: str, text: str) -> str:
    """Remove the module of the task `first` from the names in `text`, except from the first name."""
    module = str(first).rpartition(".")[0]
    begins, found, rest = text.partition(f"{module}.")
    if not module or not found:
        return text
    return begins + found + re.sub(rf"(?<![\w.-]){re.escape(module)}\.", "", rest)


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # the application's own __repr__ fails
        return f"<{type(value).__name__} whose repr() raises {type(error).__name__}>"


def _without_none(options: Options) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}
