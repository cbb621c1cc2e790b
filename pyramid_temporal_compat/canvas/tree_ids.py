"""The ids of a tree. The first id becomes the id of the workflow, and every other id begins with it and a slash.

So an id names the workflow that holds its task: the part before the last slash.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from ..message.ids import batch_id, is_batch_below, member_id, new_id, new_token, workflow_of


class Ids:
    """Gives out the ids of one tree while its tasks are frozen, from the last task to the first."""

    def __init__(self, first: str | None = None, workflow: str | None = None) -> None:
        """
        :param first: the first id to give out. With `workflow`, it is the id of the task that the tree replaces.
        :param workflow: the id of the running workflow that the tree joins.
        """
        self._first = first
        self._container = self._root = workflow
        self._forced = workflow is not None
        self._prefix = new_token() if self._forced else ""
        self._numbers = itertools.count(1)
        self._batches = itertools.count(1)

    def fix_workflow(self, own: str | None, wanted: str | None = None) -> None:
        """Choose the id of the workflow: the id that the tree's result already has, else `wanted`, else a new id."""
        if self._container is None:
            if own is not None:  # frozen before: ids that begin with this id may be in use
                self._prefix = new_token()
            self._container = self._root = self._first = own or wanted or self._first or new_id()

    def claim(self, own: str | None = None, wanted: str | None = None) -> str:
        """Return the id for the signature that is frozen next: its own id, else `wanted`, else a new id."""
        self.fix_workflow(own, wanted)
        first, self._first = self._first, None
        if first is not None and (self._forced or own is None):
            return first
        return own or wanted or self.new_member_id()

    def new_member_id(self) -> str:
        """Return a new id of a member of the workflow. The id of the workflow may still be unclaimed."""
        return member_id(str(self._container), next(self._numbers), self._prefix)

    def new_batch(self) -> str:
        """Return the id of a new child workflow, for a batch of tasks."""
        return batch_id(str(self._container), next(self._batches), self._prefix)

    def batch(self) -> AbstractContextManager[None]:
        """While this lasts, give out ids in a new child workflow."""
        return self.in_workflow(self.new_batch())

    def in_workflow_of(self, own: str | None) -> AbstractContextManager[None]:
        """While this lasts, give out ids in the workflow that holds the task `own`, if that is part of this tree."""
        container = workflow_of(own or "")
        ours = container == self._root or is_batch_below(container, str(self._root))
        return self.in_workflow(container) if ours else nullcontext()

    @contextmanager
    def in_workflow(self, container: str) -> Iterator[None]:
        """While this lasts, give out ids in the workflow `container`."""
        outer, self._container = self._container, container
        try:
            yield
        finally:
            self._container = outer
