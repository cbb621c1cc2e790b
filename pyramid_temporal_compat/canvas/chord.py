"""Chords: a group, and a task that gets the list of the group's results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..celery_names.lists import as_list
from ..current import current_app
from ..exceptions import InvalidCall
from ..message.nodes import ChordNode, GroupNode
from .abstract import CallableSignature
from .chain import OWN_OPTIONS, _chain
from .group import group
from .planner import Lineage, Place, Planned, Planner, send, without
from .signature import (
    Item,
    Signature,
    is_signature,
    maybe_signature,
    no_signature,
    signature,
    unwrapped,
    without_module,
)
from .stamps import StampingVisitor
from .tree_ids import Ids

if TYPE_CHECKING:
    from ..interfaces import AppLike

POLLING = ("interval", "max_retries", "eager", "result_cls", "producer", "publisher", "connection", "router")
"""Celery's options about how it polls for the end of a header. They do nothing here: the workflow knows."""


@Signature.register_type("chord")
class _chord(Signature):
    """`chord(header, body)`: runs the members of the header, and then the body with the list of their results."""

    tasks: Any = Item("kwargs.header", "The header: a list of members, or a group.")
    body: Any = Item("kwargs.body", "The signature that gets the list of the header's results.")

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: AppLike | None = None) -> Any:
        """Return the chord that a dict describes."""
        options = dict(d)
        kwargs = dict(options.pop("kwargs"))
        return cls(kwargs.pop("header", None), kwargs.pop("body", None), kwargs=kwargs, app=app, **options)

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Any = None,
        kwargs: Any = None,
        app: AppLike | None = None,
        **options: Any,
    ) -> None:
        inner = {
            **(kwargs or {"kwargs": {}}),
            "header": header_signatures(header, app),
            "body": maybe_signature(body, app),
        }
        super().__init__(task, args, inner, app=app, **options)
        self.subtask_type = "chord"

    def __call__(self, body: Any = None, **options: Any) -> Any:
        return self.apply_async((), {"body": body} if body else {}, **options)

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Signature):
            return NotImplemented
        other = unwrapped(other)
        if isinstance(other, (group, _chain)):
            return super().__or__(other)
        made = self.clone()
        made.body = made.body | other
        return made

    def clone(self, *args: Any, **kwargs: Any) -> Any:
        """Return a copy, with copies of its body."""
        made = super().clone(*args, **kwargs)
        made.body = maybe_signature(made.body, clone=True)
        return made

    def header_group(self) -> Any:
        """Return the header as a group."""
        if not isinstance(self.tasks, group):
            self.tasks = group(self.tasks, app=self.app)
        return self.tasks

    # --- calling -----------------------------------------------------------------------------------

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send the chord. Return the result of its body. `kwargs` may hold the body."""
        if self.app.conf["task_always_eager"]:
            return self.app.call_canvas_eagerly(self, args, kwargs, options)
        return send(self, args, kwargs, options)

    def run(
        self,
        header: Any,
        body: Any,
        partial_args: Any = (),
        app: AppLike | None = None,
        eager: bool = False,
        **options: Any,
    ) -> Any:
        """Send a chord of the given header and body, in place of its own."""
        made = type(self)(header, body, app=app or self._app)
        return made.apply(partial_args) if eager else made.apply_async(partial_args, **without(options, POLLING))

    def _plan(self, planner: Planner, args: Any, kwargs: Any, options: Mapping[str, Any], lineage: Lineage) -> Planned:
        app, ids = planner.app, planner.ids
        args = (*args, *self.args) if args and not self.immutable else self.args
        body, header_kwargs = self.body_and_kwargs(kwargs)
        merged = {**self.options, **without(options, POLLING)}
        delay = {key: merged.pop(key, None) for key in ("countdown", "eta")}
        wanted = options.get("task_id") or self.options.get("task_id")
        merged.pop("task_id", None)
        for_body = without(merged, ("parent_id", "link", "link_error", "chain", "chord"))
        body = with_callbacks(body.clone(), merged.pop("link", None), merged.pop("link_error", None))
        body.options.update(for_body)
        ids.fix_workflow(body._result_id(), wanted)
        header = self.tasks.clone() if isinstance(self.tasks, group) else group(list(self.tasks), app=app)
        gid = header.options["task_id"] = header.options.get("task_id") or ids.new_member_id()
        body_result = body._freeze_at(ids, Place(wanted, gid, None, body.options.get("root_id")))
        header.freeze_members(ids, Place(None, gid, None, body.options.get("root_id")))
        sent = {**without(merged, ("chain", "chord")), **{key: at for key, at in delay.items() if at is not None}}
        before = lineage.given(not self.immutable).within(str(body_result.id))
        beside = header._plan(planner, args, header_kwargs, {**sent, "task_id": gid}, before)
        assert isinstance(beside.node, GroupNode)
        after = body._plan(planner, (), {}, {}, replace(beside.last, chord=lineage.chord, follows=True, takes=True))
        body_result.parent = beside.result
        errbacks = errbacks_of(body)
        node = ChordNode(
            id=str(body_result.id),
            group_id=gid,
            header=beside.node.members,
            body=after.node,
            errbacks=planner.linked([errback for errback, _ in errbacks], after.last),
            errback_subjects=tuple(about for _, about in errbacks) if isinstance(body, group) else (),
        )
        return Planned(body_result, node, after.last, beside.result)

    def body_and_kwargs(self, kwargs: Mapping[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        """Return the body, and the named arguments for the header."""
        given = dict(kwargs or {})
        body = given.pop("body", None) or self.body
        if body is None:
            raise InvalidCall(f"{self!r} has no body; write chord(header)(body) or chord(header, body)")
        if not is_signature(body):
            raise no_signature("the body of chord()", body)
        return maybe_signature(body, app=self._app), {**self.kwargs.get("kwargs", {}), **given}

    def apply(
        self, args: Any = None, kwargs: Any = None, propagate: bool = True, body: Any = None, **options: Any
    ) -> Any:
        """Run the header and then the body here. Return the result of the body."""
        body = self.body if body is None else body
        header = self.tasks.clone() if isinstance(self.tasks, group) else group(self.tasks, app=self.app)
        return body.apply(args=(header.apply(args, kwargs).get(propagate=propagate),))

    def apply_eagerly(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Any:
        """Run the chord in this process: `apply_async` calls this under `task_always_eager`."""
        body, header_kwargs = self.body_and_kwargs(kwargs)
        merged = {**self.options, **options}
        body = body.clone(**without(options, ("parent_id", "link", "link_error", "countdown", "eta", *POLLING)))
        body = with_callbacks(body, merged.get("link"), merged.get("link_error"))
        args = (*args, *self.args) if args and not self.immutable else self.args
        return self.apply(args, header_kwargs, body=body)

    # --- freezing and stamping ---------------------------------------------------------------------

    def _freeze_at(self, ids: Ids, place: Place) -> Any:
        header = self.header_group()
        if self.body is None:
            raise InvalidCall(f"{self!r} can't be frozen, because a chord without a body has no result; add a body")
        result = self.body._freeze_at(ids, Place(place.id, place.group_id, place.group_index, place.root_id))
        header_result = header._freeze_at(ids, Place(root_id=place.root_id, parent_id=place.parent_id))
        self.id = header.id
        node, seen = result, set()
        while node.parent is not None:
            if node.id in seen:
                raise RuntimeError("Recursive result parents")
            seen.add(node.id)
            node = node.parent
        node.parent = header_result
        return result

    def _result_id(self) -> str | None:
        found: str | None = self.body._result_id() if self.body is not None else None
        return found

    def split_body(self) -> list[Any]:
        """Split a body that is a chain. Return this chord with the first step as body, then the other steps."""
        made = self.clone()
        first, *others = made.body.unchain_tasks()
        made.body = first.clone(**without(made.body.options, OWN_OPTIONS))
        return [made, *others]

    def stamp(self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any) -> None:
        """Put stamps on every task of the chord, and on its callbacks and errbacks."""
        tasks = self.tasks.tasks if isinstance(self.tasks, group) else self.tasks
        found = None if visitor is None else visitor.on_chord_header_start(self, **headers) or {}
        headers = self._stamp_headers(found, append_stamps, **headers)
        self.stamp_links(visitor, append_stamps, **headers)
        for task in tasks:
            task.stamp(visitor, append_stamps, **headers)
        if visitor is None:
            return
        visitor.on_chord_header_end(self, **headers)
        if self.body is not None:
            found = visitor.on_chord_body(self, **headers) or {}
            self.body.stamp(visitor, append_stamps, **self._stamp_headers(found, append_stamps, **headers))

    # --- options -------------------------------------------------------------------------------------

    def link(self, callback: Any) -> Any:
        """Link a callback to the body, and return the callback."""
        self.body.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Link an errback to the body, and return the errback.

        With `task_allow_error_cb_on_chord_header`, also link it to each member of the header.
        """
        errback = maybe_signature(errback)
        members = as_list(self.tasks) if not isinstance(self.tasks, group) else self.tasks.tasks
        if self.app.conf["task_allow_error_cb_on_chord_header"]:
            for task in members:
                task.link_error(errback.clone(immutable=True))
        for task in members:
            if isinstance(task, _chord):  # a chord passes the errback on to its own members
                task.link_error(errback)
        self.body.link_error(errback)
        return errback

    def set_immutable(self, immutable: bool) -> None:
        """Set whether the members of the header accept further arguments."""
        for task in self.tasks.tasks if isinstance(self.tasks, group) else self.tasks:
            task.set_immutable(immutable)

    # --- the object ----------------------------------------------------------------------------------

    @property
    def app(self) -> Any:
        """Return the app of the chord or of its first task; without one, the current app."""
        if self._app is not None:
            return self._app
        tasks = self.tasks.tasks if isinstance(self.tasks, group) else self.tasks
        for found in (*tasks[:1], self.body):
            if isinstance(found, Signature) and (app := found.app) is not None:
                return app
        return current_app()

    def __length_hint__(self) -> int:
        """Return how many results the body waits for."""
        tasks = self.tasks.tasks if isinstance(self.tasks, group) else self.tasks
        return sum(self._descend(task) for task in tasks)

    @classmethod
    def _descend(cls, found: Any) -> int:
        found = maybe_signature(found)
        if isinstance(found, group):
            return sum(cls._descend(task) for task in found.tasks)
        if isinstance(found, _chain):
            return next((size for task in reversed(found.tasks) if (size := cls._descend(task))), 0)
        if isinstance(found, _chord):
            return cls._descend(found.body)
        return 1 if isinstance(found, Signature) else len(found)

    def __repr__(self) -> str:
        if not self.body:
            return f"<chord without body: {self.tasks!r}>"
        if isinstance(self.body, _chain):
            first, *others = self.body.tasks
            rest = _chain(others, app=self._app)
            return without_module(first["task"], f"%({first.reprcall(self.tasks)} | {rest!r})")
        return "%" + without_module(self.body["task"], self.body.reprcall(self.tasks))


chord = _chord


def header_signatures(header: Any, app: AppLike | None) -> Any:
    """Return the header that a chord was given as a list of signatures."""
    if isinstance(header, dict):
        header = signature(header, app=app)
    if isinstance(header, (group, _chain)):
        return header.tasks
    if isinstance(header, CallableSignature):
        return [header]
    return [signature(task, app=app) for task in header]


def with_callbacks(body: Any, link: Any, link_error: Any) -> Any:
    """Return the body with the chord's own links added. The body is copied if there are links."""
    callbacks, errbacks = as_list(link), as_list(link_error)
    if callbacks or errbacks:
        body = _with_members_cloned(body)
    for callback in callbacks:
        callback = _with_members_cloned(maybe_signature(callback, app=body._app))
        if isinstance(body, group) and not body.tasks:
            body.append_to_list_option("link", callback)
        else:
            body.link(callback)
    for errback in errbacks:
        if isinstance(body, group):
            _link_error_to_members(body, maybe_signature(errback, app=body._app))
        else:
            body.append_to_list_option("link_error", errback)
    return body


def _with_members_cloned(found: Any) -> Any:
    found = maybe_signature(found, clone=True)
    if isinstance(found, group):
        found.tasks = [_with_members_cloned(task) for task in found.tasks]
    elif isinstance(found, _chord):
        found.body = _with_members_cloned(found.body)
    return found


def _link_error_to_members(found: Any, errback: Any, runs_as_group: bool = True) -> None:
    # When a group runs, its own option replaces its members' option. So the errback goes to the group's, if set.
    if isinstance(found, group):
        if runs_as_group and found.options.get("link_error") is not None:
            found.append_to_list_option("link_error", errback.clone())
            return
        for task in found.tasks:
            _link_error_to_members(task, errback, runs_as_group=False)
    elif isinstance(found, _chord):
        _link_error_to_members(found.body, errback)
    else:
        found.link_error(errback.clone())


def errbacks_of(body: Any) -> list[tuple[Any, str]]:
    """Return the errbacks that run when the header fails, each with the task id that it gets.

    These are the errbacks of the body. If the body is a group, each member has its own errbacks and the group's, each
    once.
    """
    own = as_list(body.options.get("link_error"))
    if not isinstance(body, group):
        return [(errback, body._result_id()) for errback in own]
    found = []
    for task in body.tasks:
        errbacks: list[Any] = []
        for errback in (*_errbacks_of_member(task), *own):
            if errback not in errbacks:
                errbacks.append(errback)
        found += [(errback, task._result_id()) for errback in errbacks]
    return found


def _errbacks_of_member(task: Any) -> list[Any]:
    # A chord's result is the result of its body, so the body's errbacks count too.
    found = as_list(task.options.get("link_error"))
    if isinstance(task, _chord):
        return found + _errbacks_of_member(task.body)
    if isinstance(task, group):
        return found + [errback for member in task.tasks for errback in _errbacks_of_member(member)]
    return found
