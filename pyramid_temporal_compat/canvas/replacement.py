"""Lets a running task change its canvas: `replace` itself by a signature, or add a member to its chord."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..celery_names.lists import as_list
from ..context import Context
from ..exceptions import ImproperlyConfigured, PayloadTooLarge
from ..message.ids import workflow_of
from ..message.message import total_size
from ..message.tree import Tree
from ..security.signed_places import with_signed_places
from .chain import _chain
from .chord import chord
from .group import group, is_empty
from .planner import Lineage, Place, plan
from .signature import maybe_signature
from .tree_ids import Ids

if TYPE_CHECKING:
    from ..interfaces import AppLike, TaskLike

ACCUMULATE = "celery.accumulate"


def prepare_replacement(task: TaskLike, signature: Any) -> Any:
    """Freeze a signature with the id of the run that it replaces, and mark it as the replacement."""
    request = task.request
    if "chord" in signature.options:
        raise ImproperlyConfigured("A signature replacing a task must not be part of a chord")
    if isinstance(signature, _chain) and is_empty(signature):
        raise ImproperlyConfigured("Cannot replace with an empty chain")
    signature = with_one_result(signature, task.app)
    if request.is_eager:
        for callback in as_list(request.callbacks):
            signature.link(callback)
        for errback in as_list(request.errbacks):
            signature.link_error(errback)
    signature._freeze_at(ids_of_replacement(request), Place())
    marks = {
        "group_id": request.group,
        "group_index": request.group_index,
        "root_id": request.root_id,
        "replaced_task_nesting": request.replaced_task_nesting + 1,
    }
    signature.set(**marks)
    for step in signature.tasks if isinstance(signature, _chain) else ():
        step.set(replaced_task_nesting=marks["replaced_task_nesting"])
    return signature


def with_one_result(signature: Any, app: AppLike) -> Any:
    """Return a signature with one result, as the replaced task has. A group's result becomes a list."""
    if isinstance(signature, group):
        return signature | app.tasks[ACCUMULATE].s(index=0)
    if isinstance(signature, _chain) and signature.tasks:
        *steps, last = signature.tasks
        signature.tasks = [*steps, with_one_result(maybe_signature(last, app), app)]
    elif isinstance(signature, chord):
        signature.body = with_one_result(maybe_signature(signature.body, app), app)
    return signature


def replacement_tree(task: TaskLike, signature: Any) -> Tree:
    """Return the tree that replaces the run."""
    request = task.request
    lineage = Lineage(request.root_id, request.id, chord=request.chord)
    node = plan(signature, (), {}, {}, ids_of_replacement(request), lineage).node
    tree, limit = Tree(with_signed_places(task.app, node)), task.app.conf["ptemporal.payload_limit"] * 3 // 4
    if (size := total_size(tree.encode())) > limit:  # it travels in the run's outcome, as base64
        raise PayloadTooLarge(
            f"the replacement of task {task.name!r}, {tree.summary}, takes {size:,} bytes, compressed; the limit is "
            f"{limit:,} (three quarters of ptemporal.payload_limit); store its data elsewhere, and pass the address"
        )
    return tree


def ids_of_replacement(request: Context) -> Ids:
    """Return the source of ids for a replacement. The replacement's result has the id of the run."""
    return Ids(str(request.id), workflow=workflow_running(request))


def workflow_running(request: Context) -> str:
    """Return the id of the workflow that runs this task as an activity."""
    return request.workflow_id or workflow_of(str(request.id)) or str(request.id)


def add_member_to_chord(task: TaskLike, signature: Any, lazy: bool) -> Any:
    """Add `signature` to the header of the chord that has the run.

    Return its result. With `lazy`, return the signature: its `apply_async` adds it.
    """
    request = task.request
    if not request.chord:
        raise ValueError("Current task is not member of any chord")
    ids = Ids(workflow=workflow_running(request))
    signature.set(group_id=request.group, group_index=request.group_index, root_id=request.root_id)
    result = signature._freeze_at(ids, Place())
    lineage = Lineage(request.root_id, request.id, chord=request.chord)
    planned = plan(signature, (), {}, {}, ids, lineage)

    def send(*args: Any, **options: Any) -> Any:
        request.added = [*(request.added or ()), Tree(with_signed_places(task.app, planned.node))]
        task.add_trail(planned.trail)
        return result

    if not lazy:
        return send()
    # The end of the run sends the added members. A call after the end is too late, as in Celery.
    signature.apply_async = send
    return signature
