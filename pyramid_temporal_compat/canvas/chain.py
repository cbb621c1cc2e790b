"""Chains: tasks that run one after the other. Each task gets the result of the task before it."""

from __future__ import annotations

import functools
import operator
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from .. import states
from ..celery_names.lists import as_list
from ..celery_names.refused_members import RefusedOfChains
from ..current import current_app
from ..exceptions import InvalidCall
from ..message.nodes import ChainNode
from ..results.eager_result import EagerResult
from .abstract import CallableSignature
from .group import group, is_empty, split_into_batches
from .planner import Lineage, Place, Planned, Planner, send, without
from .signature import Item, Signature, maybe_signature, no_signature, unwrapped, without_module
from .stamps import StampingVisitor
from .tree_ids import Ids

if TYPE_CHECKING:
    from ..interfaces import AppLike

OWN_OPTIONS = frozenset({"chord", "group_id", "group_index", "link", "link_error", "parent_id", "root_id", "task_id"})
"""Options that a chain keeps for itself. Its first task gets all other options."""


@Signature.register_type("chain")
class _chain(RefusedOfChains, Signature):
    """A chain as an object. `chain(a, b)`, below, follows the rules of `|`, and may return a chord or a group."""

    tasks: Any = Item("kwargs.tasks", "The steps.")

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: AppLike | None = None) -> Any:
        """Return the chain that a dict describes."""
        tasks = [maybe_signature(task, app=app) for task in d["kwargs"]["tasks"] or ()]
        return cls(tasks, app=app, **d["options"])

    def __init__(self, *tasks: Any, **options: Any) -> None:
        options.pop("use_link", None)  # Celery's choice between two ways of sending a chain; here there is one
        steps = tasks[0] if len(tasks) == 1 and is_iterable_of_steps(tasks[0]) else tasks
        super().__init__("celery.chain", (), {"tasks": list(steps)}, **options)
        self.subtask_type = "chain"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.apply_async(args, kwargs) if self.tasks else None

    def __or__(self, other: Any) -> Any:
        if is_empty(other):
            return self
        other = unwrapped(other)
        if isinstance(other, group):
            return self._before_group(other)
        if isinstance(other, _chain):
            return functools.reduce(operator.or_, other.unchain_tasks(), self)
        if isinstance(other, Signature):
            return self._before_task(other)
        return NotImplemented

    def _before_group(self, other: Any) -> Any:
        steps = self.unchain_tasks()
        if not steps:
            return other
        if is_chord(steps[-1]):
            steps[-1].body = steps[-1].body | other
            return type(self)(steps, app=self.app)
        return type(self)([*steps, other], app=self._app)

    def _before_task(self, other: Any) -> Any:
        last = self.tasks[-1] if self.tasks else None
        if isinstance(last, group):
            made = self.clone()
            made.tasks[-1] = _chord()(made.tasks[-1], other, app=self._app)
            if len(made.tasks) > 1 and is_chord(made.tasks[-2]):
                made.tasks[-2].body = made.tasks[-2].body | made.tasks[-1]
                made.tasks = made.tasks[:-1]
            return made
        if is_chord(last) and not is_chord(other):
            made = self.clone()
            made.tasks[-1].body = made.tasks[-1].body | other
            return made
        return type(self)([*self.unchain_tasks(), other], app=self._app)

    def clone(self, *args: Any, **kwargs: Any) -> Any:
        """Return a copy, with copies of its steps."""
        made = super().clone(*args, **kwargs)
        made.kwargs["tasks"] = [maybe_signature(task, app=self._app, clone=True) for task in made.kwargs["tasks"]]
        return made

    def unchain_tasks(self) -> list[Any]:
        """Return copies of the steps, with the chain's callbacks on the last step and its errbacks on every step."""
        steps = [step.clone() for step in self.tasks]
        for callback in as_list(self.options.get("link")):
            steps[-1].link(callback)
        for errback in as_list(self.options.get("link_error")):
            for step in steps:
                step.link_error(errback)
        return steps

    # --- calling -----------------------------------------------------------------------------------

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send the chain. Return the result of its last step; `parent` is the result of the step before."""
        if self.app.conf["task_always_eager"]:
            return self.app.call_canvas_eagerly(self, args, kwargs, options)
        return send(self, args, kwargs, options) if self.tasks else None

    run = apply_async

    def _plan(self, planner: Planner, args: Any, kwargs: Any, options: Mapping[str, Any], lineage: Lineage) -> Planned:
        merged = {**self.options, **options}
        first_args = (*args, *self.args) if args and not self.immutable else self.args
        steps = groups_to_chords(flat_steps(self.tasks, planner.app), planner.app)
        if not steps:
            raise InvalidCall("an empty chain can't be part of another canvas, because it has no result; leave it out")
        steps[0] = steps[0].clone(first_args, kwargs)
        place = Place(*(merged.get(key) for key in ("task_id", "group_id", "group_index", "root_id", "parent_id")))
        results = freeze_steps(steps, planner.ids, place, planner.app)
        for errback in as_list(merged.get("link_error")):
            for step in steps:
                step.link_error(errback)
                if is_chord(step) and step.body:
                    step.body.link_error(errback)
        if merged.get("link"):
            steps[-1].extend_list_option("link", merged["link"])
        # In a chord's header, the chord waits for the chain's last step, and only that step may add to the header.
        chords = [None] * (len(steps) - 1) + [lineage.chord]
        beginning = lineage.given(not self.immutable).within(chords[0])
        with planner.ids.in_workflow_of(steps[0]._result_id()):
            first: Planned = steps[0]._plan(planner, (), {}, without(merged, OWN_OPTIONS), beginning)
        planned = [first]
        for step, chord in zip(steps[1:], chords[1:], strict=True):
            with planner.ids.in_workflow_of(step._result_id()):
                planned.append(step._plan(planner, (), {}, {}, planned[-1].last.within(chord)))
        if len(planned) == 1:
            return first
        node = ChainNode(id=str(results[-1].id), steps=tuple(step.node for step in planned))
        return Planned(results[-1], node, planned[-1].last, first.trail)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the chain here, step by step. Return the result of the last step that ran."""
        merged = {**self.options, **options}
        link, last_id = merged.pop("link", None), merged.pop("task_id", None)
        steps = [step.clone() for step in self.tasks if not is_empty(step)] or list(self.tasks[-1:])
        if link and steps:
            (steps[-1].body if is_chord(steps[-1]) else steps[-1]).extend_list_option("link", link)
        if last_id and steps and not is_chord(steps[-1]):
            steps[-1].options.setdefault("task_id", last_id)
        last: Any = None
        for step in steps:
            if last is None:
                result = step.apply(args or (), kwargs or {}, **merged)
            else:
                result = step.apply((last.get(),), {}, **merged)
            result.parent, last = last, result
            if isinstance(result, EagerResult) and result.state in (states.IGNORED, states.REJECTED):
                break
        return last

    # --- freezing and stamping ---------------------------------------------------------------------

    def _freeze_at(self, ids: Ids, place: Place) -> Any:
        steps = flat_steps(self.tasks, self.app, clone=False)
        if not steps:
            raise IndexError("an empty chain can't be frozen, because it has no result")
        steps[0].args = (*self.args, *steps[0].args)
        results = freeze_steps(groups_to_chords(steps, self.app), ids, place, self.app)
        self.id = results[-1].id
        return results[-1]

    def _result_id(self) -> str | None:
        last = next((step for step in reversed(self.tasks) if not is_empty(step)), None)
        return None if last is None else as_signature(last, self.app)._result_id()

    def stamp(self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any) -> None:
        """Put stamps on every task of the chain, and on its callbacks and errbacks."""
        found = None if visitor is None else visitor.on_chain_start(self, **headers) or {}
        headers = self._stamp_headers(found, append_stamps, **headers)
        self.stamp_links(visitor, **headers)
        for task in self.tasks:
            task.stamp(visitor, append_stamps, **headers)
        if visitor is not None:
            visitor.on_chain_end(self, **headers)

    # --- the object ----------------------------------------------------------------------------------

    @property
    def app(self) -> Any:
        """Return the app of the chain or of its first task; without one, the current app."""
        return self._app or getattr(self.tasks[0] if self.tasks else None, "app", None) or current_app()

    def __repr__(self) -> str:
        if not self.tasks:
            return f"<{type(self).__name__}@{id(self):#x}: empty>"
        return without_module(self.tasks[0]["task"], " | ".join(map(repr, self.tasks)))


class chain(_chain):
    """`chain(a, b, c)` is `a | b | c`. One argument may also be an iterable of the steps."""

    def __new__(cls, *tasks: Any, **kwargs: Any) -> Any:
        if not kwargs and tasks and (len(tasks) > 1 or is_iterable_of_steps(tasks[0])):
            made = chain_of(tasks[0] if len(tasks) == 1 else tasks)
            if cls is chain or not isinstance(made, _chain) or isinstance(made, cls):
                return made
        return super().__new__(cls)


def chain_of(tasks: Iterable[Any]) -> Any:
    """Return what `a | b | c` makes. Each step is copied once, not again for each step that follows."""
    tasks = list(tasks)
    steps: list[Any] = []
    for position, task in enumerate(tasks):
        made = _append_step(steps, task, is_last=position == len(tasks) - 1)
        if made is not steps:
            return functools.reduce(operator.or_, tasks[position + 1 :], made)
    # unchain_tasks() may give one errback to several steps: each step gets a copy.
    return _chain([*(step.clone() for step in steps[:-1]), *steps[-1:]])


def _append_step(steps: list[Any], other: Any, is_last: bool) -> Any:
    """Append `other` to `steps` by the rules of `|`, and return `steps`.

    Where these rules make something else than a chain, return that signature.
    """
    if is_empty(other):
        return steps
    other = unwrapped(other)
    if isinstance(other, group):
        if not steps:
            return other
        if is_chord(steps[-1]):
            steps[-1].body = steps[-1].body | other
        else:
            steps.append(other if is_last else other.clone())
        return steps
    if isinstance(other, _chain):
        inner = other.unchain_tasks()
        for position, task in enumerate(inner):
            made = _append_step(steps, task, is_last and position == len(inner) - 1)
            if made is not steps:
                return functools.reduce(operator.or_, inner[position + 1 :], made)
        return steps
    if not isinstance(other, Signature):
        raise no_signature("chain()", other)
    if steps and isinstance(steps[-1], group):
        steps[-1] = _chord()(steps[-1], other if is_last else other.clone())
    elif steps and is_chord(steps[-1]) and not is_chord(other):
        steps[-1].body = steps[-1].body | other
    else:
        steps.append(other if is_last else other.clone())
    return steps


# --- steps -------------------------------------------------------------------------------------------


def flat_steps(tasks: Sequence[Any], app: AppLike, clone: bool = True) -> list[Any]:
    """Return the steps in order. Inner chains become their steps, and a group of one becomes its member.

    Empty groups and chains are left out, unless nothing else remains.
    """
    steps: list[Any] = []
    empty = None
    pending = deque(tasks)
    while pending:
        step = unwrapped(as_signature(pending.popleft(), app))
        if isinstance(step, _chain):
            pending.extendleft(reversed(step.clone().tasks if clone else step.tasks))
        elif is_empty(step):
            empty = step
        elif clone and is_chord(step) and begins_with_task(step.body):
            pending.extendleft(reversed(step.split_body()))
        else:
            steps.append(step.clone() if clone else step)
    return steps or ([empty] if empty is not None else [])


def groups_to_chords(steps: Sequence[Any], app: AppLike) -> list[Any]:
    """Return the steps, with each group and the step after it as one chord."""
    made: list[Any] = []
    for step in reversed(steps):
        made.append(_chord()(step, body=made.pop(), app=app) if isinstance(step, group) and made else step)
    return made[::-1]


def freeze_steps(steps: Sequence[Any], ids: Ids, place: Place, app: AppLike) -> list[Any]:
    """Freeze each step, from the last to the first, and make each result the parent of the next result.

    In a long chain, each batch of steps becomes a workflow.
    """
    results: list[Any] = []
    begins: Any = None
    ids.fix_workflow(steps[-1]._result_id(), place.id)
    # The last step gives the chain's result, and the first may be a chord's body: both stay in the chain's workflow.
    parts = split_into_batches(steps[1:-1], app)
    homes = [home for part in parts for home in [ids.new_batch() if len(parts) > 1 else None] * len(part)]
    homes = [None, *homes, None][-len(steps) :]
    for step, home in zip(reversed(steps), reversed(homes), strict=True):
        with nullcontext() if home is None else ids.in_workflow(home):
            result = step._freeze_at(ids, Place(root_id=place.root_id) if results else place)
        if begins is not None and begins.parent is None:
            begins.parent = result
        begins = result
        while is_chord(step) and begins.parent is not None:
            begins = begins.parent
        results.append(result)
    return results[::-1]


def begins_with_task(body: Any) -> bool:
    """Return whether a chord's body is a chain whose first step can be the body by itself."""
    return isinstance(body, _chain) and bool(body.tasks) and not isinstance(body.tasks[0], group)


def as_signature(found: Any, app: AppLike) -> Any:
    """Return a signature; make it from a dict."""
    return found if isinstance(found, CallableSignature) else Signature.from_dict(found, app=app)


def is_chord(found: Any) -> bool:
    """Return whether a signature is a chord."""
    return isinstance(found, _chord())


def _chord() -> Any:
    return Signature.TYPES["chord"]  # a lookup, because the module of chord imports this module


def is_iterable_of_steps(value: Any) -> bool:
    """Return whether `value` is an iterable of signatures, and not one signature or a text."""
    return isinstance(value, Iterable) and not isinstance(value, (Mapping, str))
