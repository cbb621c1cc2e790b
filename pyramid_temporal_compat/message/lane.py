"""The lane of a call: a workflow around one activity, or the activity alone.

A call keeps its lane for good, and its message carries it. A workflow and a standalone activity may have the same id.
So the server would not notice a call that is sent again in the other lane.
"""

from __future__ import annotations

from ..exceptions import InvalidCall

WORKFLOW, ACTIVITY = "workflow", "activity"
LANES = (WORKFLOW, ACTIVITY)


def is_lane(value: object) -> bool:
    return value in LANES


def lane_of_call(task: str, asked: object, *, id_is_new: bool, needs_workflow: bool, at_most_once: bool) -> str:
    """Return the lane that a call of a single task may take. Whether the server has this lane is not asked here.

    :param asked: the task's `lane`, or the setting.
    :param id_is_new: the id was made for this call. A caller may use an id of its own twice, and the other call may
        take the workflow. Only workflows refuse each other's ids.
    :param needs_workflow: the task says that it does what only a workflow can do.
    :param at_most_once: the server makes one attempt, so only a workflow can make another run.
    """
    if not is_lane(asked):
        raise InvalidCall(f"task {task!r}: lane={asked!r} can't be used; it takes {' or '.join(map(repr, LANES))}")
    if asked == ACTIVITY and id_is_new and not needs_workflow and not at_most_once:
        return ACTIVITY
    return WORKFLOW
