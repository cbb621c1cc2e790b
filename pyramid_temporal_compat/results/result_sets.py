"""`ResultSet` and `GroupResult`: the results of several tasks, read and waited for together."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .. import states
from ..current import app_or_default
from ..exceptions import ImproperlyConfigured, TimeoutError
from ..message.ids import possible_bundles, workflow_of
from .join_guard import assert_will_not_block
from .result import AsyncResult, ResultBase, forget, result_from_tuple

if TYPE_CHECKING:
    from ..interfaces import AppLike


class ResultSet(ResultBase):
    """Several results, used as one."""

    app: Any = None
    results: Any = None

    def __init__(self, results: Iterable[Any], app: AppLike | None = None, **kwargs: Any) -> None:
        self.results = list(results)
        self.app = app_or_default(app or self.app or (self.results[0].app if self.results else None))

    @property
    def backend(self) -> Any:
        return self.app.backend

    # --- members ---------------------------------------------------------------------------------

    def add(self, result: Any) -> None:
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: Any) -> None:
        wanted = self.app.AsyncResult(result) if isinstance(result, str) else result
        try:
            self.results.remove(wanted)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: Any) -> None:
        if result in self.results:
            self.results.remove(result)

    def update(self, results: Iterable[Any]) -> None:
        for result in results:
            self.add(result)

    def clear(self) -> None:
        self.results.clear()

    # --- the state -------------------------------------------------------------------------------

    def successful(self) -> bool:
        ended = self._maybe_ended()
        return len(ended) == len(self.results) and all(result.successful() for result in ended)

    def failed(self) -> bool:
        """Tell whether at least one member has failed."""
        return any(result.failed() for result in self._maybe_ended())

    def waiting(self) -> bool:
        return not self.ready()

    def ready(self) -> bool:
        looked = self.look_at_members()
        done = all(result.ended if result.id in looked else result.ready() for result in self.results)
        if done:
            self._callbacks.fire(self)
        return done

    def completed_count(self) -> int:
        """Return how many members have succeeded."""
        return sum(result.successful() for result in self._maybe_ended())

    def _maybe_ended(self) -> list[Any]:
        """Return the results that may have ended.

        One look at all members shows most that have not ended. To ask for each of them would cost one more call.
        """
        looked = self.look_at_members()
        return [result for result in self.results if result.id not in looked or result.ended]

    def look_at_members(self) -> set[str]:
        """Read the histories of the members' workflows, each history once. Return the ids that were looked at."""
        workflows, bundles = self._shared()
        if not workflows and not bundles:
            return set()
        from ..client.members import look_at_results  # the client library: 0.4 s

        patience = self.app.conf["ptemporal.dispatch_timeout"]
        asked, ended = self.app.temporal.call(lambda client: look_at_results(client, workflows, bundles), patience)
        self._remember(ended)
        return set(asked)

    def _wait_for_members(self, left: float | None, propagate: bool) -> None:
        workflows, bundles = self._shared()
        if not workflows and not bundles:
            return
        for result in self.results:
            if isinstance(result, AsyncResult):
                result.refuse_if_enlisted()
        from ..client.members import wait_for_results  # the client library: 0.4 s

        if left is None or left > 0:
            with contextlib.suppress(TimeoutError):
                self._remember(
                    self.app.temporal.call(
                        lambda client: wait_for_results(client, workflows, bundles, all_of=not propagate), left
                    )
                )
                return
        # The caller then waits for each member, and its error names the member that has not ended.
        self.look_at_members()

    def _raise_known_failure(self, of_parents: bool) -> None:
        """Raise the error of a member that is known to have failed.

        :param of_parents: raise the error of a failed member's own parent first, because it is the cause.
        """
        ended = [result for result in self.results if isinstance(result, AsyncResult) and result.ended]
        if any(result.state in states.PROPAGATE_STATES for result in ended):
            parents: list[Any] = []
            while (node := (parents[-1] if parents else self).parent) is not None:
                parents.append(node)
            for node in reversed(parents):
                node.maybe_throw()  # the failure of the set's parent is the cause of its members' failures
        for result in ended:
            if result.state in states.PROPAGATE_STATES and of_parents:
                result.raise_parent_error()
            result.maybe_throw()

    def _shared(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Return the ids of members that share a history and are not known to have ended.

        First the members of canvases by their workflow, then the tasks that may be bundled by their possible bundle.
        While Celery runs some tasks, each member is asked by itself, because the server may not know it.
        """
        if self.app.old_results is not None:
            return {}, {}
        workflows: dict[str, list[str]] = {}
        for result in self.results:
            remote = isinstance(result, AsyncResult) and result.on_server
            if remote and not result.ended and not result.ignored:
                workflows.setdefault(workflow_of(str(result.id)), []).append(result.id)
        bundles = possible_bundles(workflows.pop("", ()))
        return (workflows if any(len(members) > 1 for members in workflows.values()) else {}), bundles

    def _remember(self, found: Mapping[str, Any]) -> None:
        for result in self.results:
            if result.id in found and found[result.id].known:
                result.remember(found[result.id])

    @property
    def supports_native_join(self) -> bool:
        return False

    # --- waiting ---------------------------------------------------------------------------------

    def get(self, timeout: float | None = None, propagate: bool = True, **kwargs: Any) -> Any:
        return self.join_native(timeout=timeout, propagate=propagate, **kwargs)

    def join(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], Any] | None = None,
        no_ack: bool = True,
        on_message: Any = None,
        disable_sync_subtasks: bool = True,
        on_interval: Any = None,
    ) -> list[Any]:
        """Return the values of all members in order, or call `callback(id, value)` for each.

        If a member fails, raise the cause of its failure, such as the error of a member of a chord's header.
        """
        return self._join(timeout, propagate, interval, callback, on_message, disable_sync_subtasks, of_parents=True)

    def join_native(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], Any] | None = None,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Any = None,
        disable_sync_subtasks: bool = True,
    ) -> list[Any]:
        """Do the same as `join`, but raise a failed member's own error, such as `ChordError`. `get` does this too."""
        return self._join(timeout, propagate, interval, callback, on_message, disable_sync_subtasks, of_parents=False)

    def _join(
        self,
        timeout: float | None,
        propagate: bool,
        interval: float,
        callback: Callable[[str, Any], Any] | None,
        on_message: Any,
        disable_sync_subtasks: bool,
        *,
        of_parents: bool,
    ) -> list[Any]:
        if disable_sync_subtasks:
            assert_will_not_block()
        if on_message is not None:
            raise ImproperlyConfigured(
                "on_message is not supported: a wait for results receives no messages; use callback"
            )
        deadline = None if timeout is None else time.monotonic() + timeout
        values = []
        self._wait_for_members(timeout, propagate)
        if propagate:
            self._raise_known_failure(of_parents)
        for result in self.results:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            value = result.get(
                timeout=left,
                propagate=propagate,
                interval=interval,
                disable_sync_subtasks=disable_sync_subtasks,
                **({"follow_parents": of_parents} if isinstance(result, AsyncResult) else {}),
            )
            if callback is not None:
                callback(result.id, value)
            else:
                values.append(value)
        self._callbacks.fire(self)
        return values

    def iter_native(self, timeout: float | None = None, interval: float = 0.5, **kwargs: Any) -> Iterator[Any]:
        """Yield pairs of id and `{"task_id", "status", "result"}`, in order, each member when it is ready."""
        for result in self.results:
            value = result.get(timeout=timeout, propagate=False, interval=interval, disable_sync_subtasks=False)
            yield result.id, {"task_id": result.id, "status": result.state, "result": value}

    def maybe_throw(self, callback: Any = None, propagate: bool = True) -> None:
        looked = self.look_at_members()
        for result in self.results:
            if result.id in looked and not result.ended:
                continue
            result.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    def then(self, callback: Callable[..., Any], on_error: Callable[..., Any] | None = None, weak: bool = False) -> Any:
        self._callbacks.add(self, callback, on_error, False)
        return self

    # --- acting ----------------------------------------------------------------------------------

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        remote = []
        for result in self.results:
            if isinstance(result, AsyncResult) and result.on_server:
                result.refuse_if_enlisted()
                remote.append(result.id)
            else:
                result.revoke(terminate=terminate, signal=signal, wait=wait, timeout=timeout)
        if remote:
            more = {} if timeout is None else {"timeout": timeout}
            self.app.control.revoke(remote, terminate=terminate, signal=signal, reply=wait, **more)

    def forget(self) -> None:
        """Have the server delete the results of all members, and of their parents."""
        forget(self)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __eq__(self, other: object) -> bool:
        return other.results == self.results if isinstance(other, ResultSet) else NotImplemented

    def __hash__(self) -> int:
        raise TypeError(f"unhashable type: {type(self).__name__!r}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(str(result.id) for result in self.results)}]>"


class GroupResult(ResultSet):
    """A set of results with an id, such as the results of a group or of a chord's header."""

    id: Any = None

    def __init__(
        self,
        id: str | None = None,
        results: Iterable[Any] = (),
        parent: Any = None,
        app: AppLike | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(results, app=app)
        self.id = id
        self.parent = parent

    @property
    def children(self) -> list[Any]:
        children: list[Any] = self.results
        return children

    # --- by its id -------------------------------------------------------------------------------

    def save(self, backend: Any = None) -> None:
        """Save the group on the server, for `restore`. The server keeps it for as long as it keeps results."""
        from ..client.saved_groups import save_group  # the client library: 0.4 s

        queue = self.app.conf["task_default_queue"]
        self._call(lambda client: save_group(client, str(self.id), self.as_tuple(), queue))

    def delete(self, backend: Any = None) -> None:
        """Delete the saved group. The results themselves stay; `forget` deletes them."""
        from ..client.saved_groups import forget_group  # the client library, as above

        self._call(lambda client: forget_group(client, str(self.id)))

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: AppLike | None = None) -> Any:
        """Return the group with this id: as it was saved, else as its canvas has it; None if the server has neither."""
        from ..client.saved_groups import find_group  # the client library, as above

        found = app_or_default(app or cls.app)
        written = found.temporal.call(lambda client: find_group(client, id), found.conf["ptemporal.dispatch_timeout"])
        return None if written is None else result_from_tuple(written, found)

    def _call(self, question: Callable[[Any], Any]) -> Any:
        return self.app.temporal.call(question, self.app.conf["ptemporal.dispatch_timeout"])

    def as_tuple(self) -> tuple[Any, Any]:
        return (self.id, self.parent and self.parent.as_tuple()), [result.as_tuple() for result in self.results]

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return bool(other.id == self.id and other.results == self.results and other.parent == self.parent)
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{', '.join(str(result.id) for result in self.results)}]>"

    def __reduce__(self) -> tuple[Any, ...]:
        return GroupResult, (self.id, self.results, self.parent)


__all__ = ["AsyncResult", "GroupResult", "ResultSet"]
