"""The grammar of task and workflow ids: how an id is made, and which workflow it names.

| id | form | example |
| --- | --- | --- |
| task with a workflow of its own | a UUID, or the caller's `task_id` | `5f0c…-9d3e0007` |
| bundle | the UUID of its tasks with the last four digits at 0000 | `5f0c…-9d3e0000` |
| member of a canvas | `<workflow id>/<number>` | `5f0c…/3` |
| batch, a child workflow | `<workflow id>/b<number>` | `5f0c…/b1`, its members `5f0c…/b1/7` |
| member that joined a running canvas | `<workflow id>/<token>-<number>`, or `b<token>-<number>` | `5f0c…/a1b2c3-1` |
| retry by an operator | the task's id with `-retry-<number>`, and a dot for each slash | `5f0c….3-retry-1` |
| saved group | `<group id>/saved` | `5f0c…/saved` |

The result of a whole canvas has the id of its workflow. A replacement task keeps the id of the task
it replaces. The other tasks of the replacement get a random token, because the original plan may use their ids.

A transaction does not know how many tasks it will have when it hands out the first id. So the ids of one transaction
and queue differ in their last four digits only. The id of the bundle can be computed from each of them.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence

BUNDLE_DIGITS = 4
UUID_LENGTH = 36
"""Characters of a UUID."""
VARIANT_DIGITS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""For each random digit, the digit that stands at its place in a UUID, where two of the four bits are fixed."""
RETRIED = "-retry-"
"""Stands in the id of a task that was run anew by an operator, before the number of such runs."""
FEW = 4
"""Up to this number, tasks are looked up one by one, because finding out whether they share a bundle costs as much."""


# --- making ids ----------------------------------------------------------------------------------


def new_id() -> str:
    """Return the id of a new task: a random UUID that is no bundle's."""
    while True:
        found = random_uuid()
        if bundle_of(found) != found:
            return found


def random_uuid() -> str:
    """Return a random UUID (version 4), as `str(uuid.uuid4())` does, in a third of the time."""
    digits = os.urandom(16).hex()
    variant = VARIANT_DIGITS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def new_bundle_id() -> str:
    """Return the id of a new bundle."""
    return id_in_bundle(random_uuid(), 0)


def id_in_bundle(bundle_id: str, number: int) -> str:
    """Return the id of task `number` of a bundle. Numbers begin at 1: the id with number 0 is the bundle's own."""
    return f"{bundle_id[:-BUNDLE_DIGITS]}{number:04x}"


def new_token() -> str:
    """Return a token for `member_id` and `batch_id`, for tasks that join a canvas whose ids were handed out before."""
    return secrets.token_hex(3) + "-"


def member_id(workflow_id: str, number: int, token: str = "") -> str:
    """Return the id of a member of the canvas that `workflow_id` runs."""
    return f"{workflow_id}/{token}{number}"


def batch_id(workflow_id: str, number: int, token: str = "") -> str:
    """Return the id of a child workflow that runs some of the members of `workflow_id`."""
    return f"{workflow_id}/b{token}{number}"


def retry_id(task_id: str) -> str:
    """Return the id under which an operator runs a task anew: the same one each time, so that no task runs anew twice.

    The id of a member would name the canvas. So each slash becomes a dot.
    """
    original, mark, number = task_id.rpartition(RETRIED)
    if mark and number.isdigit() and len(number) < 10:
        return f"{original}{RETRIED}{int(number) + 1}"
    return f"{task_id.replace('/', '.')}{RETRIED}1"


def saved_group_id(group_id: str) -> str:
    """Return the id of the workflow whose memo holds a saved group."""
    return f"{group_id}/saved"


# --- reading ids ---------------------------------------------------------------------------------


def workflow_of(task_id: str) -> str:
    """Return the workflow that a member's id names, or "" if the id names none: then the task is no member."""
    return task_id.rpartition("/")[0]


def root_of(task_id: str) -> str:
    """Return the topmost workflow that an id names. For a task with a workflow of its own, return the id itself."""
    return task_id.partition("/")[0]


def bundle_of(task_id: str) -> str:
    """Return the id of the bundle that the task is in if it was bundled, or "" if the id can't be in a bundle."""
    if len(task_id) != UUID_LENGTH or task_id[8] != "-" or "/" in task_id:
        return ""
    return task_id[:-BUNDLE_DIGITS] + "0" * BUNDLE_DIGITS


def possible_bundles(task_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the tasks that may have left together, keyed by the bundle that they would be in."""
    found: dict[str, list[str]] = {}
    for task_id in task_ids:
        if bundle := bundle_of(task_id):
            found.setdefault(bundle, []).append(task_id)
    return {bundle: members for bundle, members in found.items() if len(members) > FEW}


def is_below(task_id: str, workflow_id: str) -> bool:
    """Return whether the id belongs to a member of the workflow, or of a child workflow at any depth."""
    return task_id.startswith(prefix_of(workflow_id))


def select_below(task_ids: Iterable[str], workflow_id: str) -> list[str]:
    """Return the workflow's own id, if it is listed, and the ids of members below it."""
    return [task_id for task_id in task_ids if task_id == workflow_id or is_below(task_id, workflow_id)]


def is_batch_below(container_id: str, workflow_id: str) -> bool:
    """Return whether `container_id` is a batch of the workflow, or a workflow below such a batch."""
    return container_id.startswith(f"{workflow_id}/b")


def prefix_of(workflow_id: str) -> str:
    """Return what the ids of all members below a workflow begin with. It stands for all of them in a memo."""
    return f"{workflow_id}/"


def is_prefix(written: str) -> bool:
    """Return whether this is what `prefix_of` returns, and not a single member's id."""
    return written.endswith("/")
