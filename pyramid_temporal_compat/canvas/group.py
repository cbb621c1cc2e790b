"""Groups: tasks that run at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from ..celery_names.lists import as_list
from ..current import current_app
from ..message.nodes import GroupNode
from ..results.result_sets import GroupResult
from .abstract import CallableSignature, CallableTask
from .planner import Lineage, Place, Planned, Planner, send, without
from .signature import Item, Signature, is_signature, maybe_signature, no_signature, without_module
from .stamps import StampingVisitor
from .tree_ids import Ids

if TYPE_CHECKING:
    from ..interfaces import AppLike

NO_LINK = "Cannot add link to group: use a chord"
NO_ERRBACK = "Cannot add link to group: do that on individual tasks"


@Signature.register_type()
class group(Signature):
    """`group(a, b, c)`. One argument may be an iterable of the members. A call returns a `GroupResult`."""

    tasks: Any = Item("kwargs.tasks", "The members.")

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: AppLike | None = None) -> Any:
        """Return the group that a dict describes."""
        kind = tuple if isinstance(d["kwargs"]["tasks"], tuple) else list
        # The list is replaced in place, because freezing looks for the members there.
        members = d["kwargs"]["tasks"] = kind(maybe_signature(task, app=app) for task in d["kwargs"]["tasks"])
        return cls(members, app=app, **d["options"])

    def __init__(self, *tasks: Any, **options: Any) -> None:
        members: Any = tasks
        if len(tasks) == 1:
            members = tasks[0].tasks if isinstance(tasks[0], group) else tasks[0]
            if isinstance(members, CallableSignature):
                members = [members.clone()]
            elif isinstance(members, (CallableTask, str)) or not isinstance(members, Iterable):
                members = [members]
        if not isinstance(members, (list, tuple)):
            members = list(members)
        for member in members:
            if not is_signature(member):
                raise no_signature("group()", member)
        super().__init__("celery.group", (), {"tasks": members}, **options)
        self.subtask_type = "group"

    def __call__(self, *partial_args: Any, **options: Any) -> Any:
        return self.apply_async(partial_args, **options)

    def __or__(self, other: Any) -> Any:
        if is_empty(other):
            return self
        if not isinstance(other, Signature):
            return NotImplemented
        made: Any = Signature.TYPES["chord"]
        return made(self, body=other, app=self._app)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Any:
        """Delay the members: the first starts `start` seconds from now, each other `step` later, up to `stop`."""
        seconds = float(start)
        for task in self.tasks:
            task.set(countdown=seconds)
            if not stop or seconds + step <= stop:
                seconds += step
        return self

    # --- calling -----------------------------------------------------------------------------------

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send all members, each with these options. Return a `GroupResult`."""
        refuse_links(options)
        if self.app.conf["task_always_eager"]:
            return self.app.call_canvas_eagerly(self, args, kwargs, options)
        return send(self, args, kwargs, options) if self.tasks else self.freeze()

    def _plan(self, planner: Planner, args: Any, kwargs: Any, options: Mapping[str, Any], lineage: Lineage) -> Planned:
        refuse_links(options)
        merged = self._options_of_members(options)
        gid = merged["group_id"] = planner.ids.claim(merged.pop("task_id", None))
        results, planned = [], []
        for batch, inside in batches(list(self._members()), planner.ids, planner.app):
            with inside:
                for index, task in batch:
                    results.append(task._freeze_at(planner.ids, Place(None, gid, index, merged.get("root_id"))))
                    with planner.ids.in_workflow_of(task._result_id()):
                        planned.append(task._plan(planner, args, kwargs, merged, lineage))
        result = planner.app.GroupResult(gid, results)
        if len(results) == 1 and isinstance(results[0], GroupResult):  # group(a | group(b, c))
            result = results[0]
        node = GroupNode(id=gid, members=tuple(member.node for member in planned))
        return Planned(result, node, planned[-1].last if planned else lineage, result)

    def _options_of_members(self, options: Mapping[str, Any]) -> dict[str, Any]:
        fixed = {key for key in self._IMMUTABLE_OPTIONS if key in self.options}
        return without({**self.options, **without(options, fixed)}, ("chord", "group_index", "add_to_parent"))

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run all members here, in their order."""
        if not self.tasks:
            return self.freeze()
        merged = self._options_of_members(options)
        gid = merged["group_id"] = Ids().claim(merged.pop("task_id", None))
        return self.app.GroupResult(gid, [task.apply(args, kwargs, **merged) for _, task in self._members()])

    def members(self) -> list[Any]:
        """Return copies of the members. A member that is a group is replaced by its members."""
        return [task for _, task in self._members()]

    def _members(self) -> Iterator[tuple[int, Any]]:
        """Yield copies of the members with their indexes. A member that is a group is replaced by its members."""
        for index, task in enumerate(self.tasks):
            copy = task.clone() if isinstance(task, CallableSignature) else Signature.from_dict(task, app=self.app)
            if isinstance(copy, group):
                yield from copy._members()
            elif not is_empty(copy):
                yield index, copy

    # --- freezing ------------------------------------------------------------------------------------

    def _freeze_at(self, ids: Ids, place: Place) -> Any:
        options = self.options
        options["task_id"] = ids.claim(options.get("task_id"), place.id)
        for key in ("group_id", "group_index", "root_id", "parent_id"):
            if (value := getattr(place, key)) is not None:
                options.setdefault(key, value)
        place = Place(None, place.group_id, None, options.get("root_id"), options.get("parent_id"))
        return self.app.GroupResult(options["task_id"], self.freeze_members(ids, place))

    def freeze_members(self, ids: Ids, place: Place) -> list[Any]:
        """Replace the members by frozen copies, and a group among them by its members. Return their results."""
        members: list[Any] = []
        pending = deque(self.tasks)
        while pending:
            task = maybe_signature(pending.popleft(), app=self._app).clone()
            if isinstance(task, group):
                pending.extendleft(task.tasks)  # this reverses their order, as Celery does: a body gets the results so
            elif not is_empty(task):
                members.append(task)
        results = []
        for batch, inside in batches(list(enumerate(members)), ids, self.app):
            with inside:
                for index, task in batch:
                    results.append(
                        task._freeze_at(ids, Place(None, place.group_id, index, place.root_id, place.parent_id))
                    )
        if isinstance(self.tasks, MutableSequence):
            self.tasks[:] = members
        else:
            self.tasks = members
        return results

    # --- options -------------------------------------------------------------------------------------

    def set_immutable(self, immutable: bool) -> None:
        """Set whether the members get only their own arguments."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Link a callback to the first member, without its result. Use `group | callback` to wait for all."""
        return self.tasks[0].link(callback.clone().set(immutable=True))

    def link_error(self, errback: Any) -> Any:
        """Link an errback to every member."""
        errback = maybe_signature(errback)
        return tuple(task.link_error(errback.clone()) for task in self.tasks)

    def stamp(self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any) -> None:
        """Put stamps on every task of the group, and on its callbacks and errbacks."""
        found = None if visitor is None else visitor.on_group_start(self, **headers) or {}
        headers = self._stamp_headers(found, append_stamps, **headers)
        self.stamp_links(visitor, append_stamps, **headers)
        members = [maybe_signature(task, app=self.app) for task in self.tasks]
        for task in members:
            task.stamp(visitor, append_stamps, **headers)
        if isinstance(self.tasks, MutableSequence):
            self.tasks[:] = members
        else:
            self.tasks = members
        if visitor is not None:
            visitor.on_group_end(self, **headers)

    # --- the object ----------------------------------------------------------------------------------

    @property
    def app(self) -> Any:
        """Return the app of the group or of its first task; without one, the current app."""
        return self._app or getattr(self.tasks[0] if self.tasks else None, "app", None) or current_app()

    def __len__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        if not self.tasks:
            return "group(<empty>)"
        return without_module(self.tasks[0]["task"], f"group({self.tasks!r})")


def refuse_links(options: Mapping[str, Any]) -> None:
    """Raise TypeError for the options `link` and `link_error`, which Celery's groups refuse too."""
    if options.get("link") is not None:
        raise TypeError(NO_LINK)
    if options.get("link_error") is not None:
        raise TypeError(NO_ERRBACK)


def is_empty(found: Any) -> bool:
    """Return whether a signature is a group or a chain without tasks."""
    return isinstance(found, (group, Signature.TYPES["chain"])) and not found.tasks  # type: ignore[attr-defined]


Batch = tuple[list[tuple[int, Any]], AbstractContextManager[None]]


def batches(members: list[tuple[int, Any]], ids: Ids, app: AppLike) -> list[Batch]:
    """Split the members into batches of at most `ptemporal.canvas_batch` tasks.

    Return each batch with the context to plan it in. Several batches are a workflow each; a single batch needs none.
    """
    places = iter(members)
    cut = [[next(places) for _ in lot] for lot in split_into_batches([member for _, member in members], app)]
    return [(cut[0], nullcontext())] if len(cut) == 1 else [(lot, ids.batch()) for lot in cut]


def split_into_batches(signatures: Sequence[Any], app: AppLike) -> list[list[Any]]:
    """Split signatures into batches of at most `ptemporal.canvas_batch` tasks each."""
    limit = app.conf["ptemporal.canvas_batch"]
    cut: list[list[Any]] = [[]]
    count = 0
    for signature in signatures:
        size = count_tasks(signature)
        if count + size > limit and cut[-1]:
            cut.append([])
            count = 0
        cut[-1].append(signature)
        count += size
    return cut


def count_tasks(found: Any) -> int:
    """Return how many tasks a signature contains."""
    kind = found.get("subtask_type")
    if kind in ("chain", "group"):
        return sum(map(count_tasks, found["kwargs"]["tasks"]))
    if kind == "chord":
        body = found["kwargs"]["body"]
        return sum(map(count_tasks, as_list(found["kwargs"]["header"]))) + (count_tasks(body) if body else 0)
    return 1
