"""The ids of a tree. The first one that is claimed is the workflow's; the others lie under it.

So an id says which workflow holds its task: all that stands before the last slash.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from ..message.ids import batch_id, is_batch_below, member_id, new_id, new_token, workflow_of


class Ids:
    """Hands out the ids of one tree, in the order in which its tasks are frozen: the last one first."""

    def __init__(self, first: str | None = None, workflow: str | None = None) -> None:
        """
        :param first: the id to begin with. With `workflow` it is that of a task which the tree takes the place of.
        :param workflow: the workflow that the tree becomes a part of.
        """
        self._first = first
        self._container = self._root = workflow
        self._forced = workflow is not None
        self._prefix = new_token() if self._forced else ""
        self._numbers = itertools.count(1)
        self._batches = itertools.count(1)

    def fix_workflow(self, own: str | None, wanted: str | None = None) -> None:
        """Fix which workflow it is: by the id that the tree's own result has already, or the one that is wanted."""
        if self._container is None:
            if own is not None:  # frozen before: ids under it may be taken
                self._prefix = new_token()
            self._container = self._root = self._first = own or wanted or self._first or new_id()

    def claim(self, own: str | None = None, wanted: str | None = None) -> str:
        """The id of what is frozen next: the one that it has, or the one that is wanted, or a new one."""
        self.fix_workflow(own, wanted)
        first, self._first = self._first, None
        if first is not None and (self._forced or own is None):
            return first
        return own or wanted or self.new_member_id()

    def new_member_id(self) -> str:
        """An id under the workflow's, though that one may not have been claimed yet."""
        return member_id(str(self._container), next(self._numbers), self._prefix)

    def new_batch(self) -> str:
        """A workflow under this one."""
        return batch_id(str(self._container), next(self._batches), self._prefix)

    def batch(self) -> AbstractContextManager[None]:
        """What is claimed in here lies in a workflow of its own, under this one."""
        return self.in_workflow(self.new_batch())

    def in_workflow_of(self, own: str | None) -> AbstractContextManager[None]:
        """What is claimed in here lies in the same workflow as what has this id, if that is one of this tree's."""
        container = workflow_of(own or "")
        ours = container == self._root or is_batch_below(container, str(self._root))
        return self.in_workflow(container) if ours else nullcontext()

    @contextmanager
    def in_workflow(self, container: str) -> Iterator[None]:
        outer, self._container = self._container, container
        try:
            yield
        finally:
            self._container = outer
