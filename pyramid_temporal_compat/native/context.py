"""What a context activity gets as its first argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from temporalio import activity

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, eq=False)
class ActivityContext:
    """The Pyramid application, as one execution of an activity sees it.

    Each execution has its own context, request, session and transaction. The transaction has begun. It commits when the
    activity returns, and aborts when the activity raises.
    """

    request: Any
    """A Pyramid request, made by the application's request factory, with all its request methods."""

    @property
    def registry(self) -> Any:
        """Return the application's registry."""
        return self.request.registry

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the application's settings."""
        settings: Mapping[str, Any] = self.registry.settings
        return settings

    @property
    def tm(self) -> Any:
        """Return the transaction manager of this execution. It is `request.tm`."""
        return self.request.tm

    @property
    def info(self) -> activity.Info:
        """Return Temporal's description of this execution: its ids, its attempt number, its timeouts."""
        return activity.info()

    def heartbeat(self, *details: Any) -> None:
        """Tell the server that the activity is alive. The next attempt finds `details` in `info.heartbeat_details`."""
        activity.heartbeat(*details)

    def is_cancelled(self) -> bool:
        """Return whether the server, or a stopping worker, has asked this activity to end."""
        return activity.is_cancelled()
