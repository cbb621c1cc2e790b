"""The states of a task, and their order: how final each state is."""

from __future__ import annotations

PENDING = "PENDING"
"""The task is unknown, delayed, or waits for a worker."""
RECEIVED = "RECEIVED"
STARTED = "STARTED"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
REJECTED = "REJECTED"
RETRY = "RETRY"
IGNORED = "IGNORED"

READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = frozenset({PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, REVOKED})

# A state that the application made up stands between FAILURE and REVOKED.
_CUSTOM = None
_PRECEDENCE = {
    name: index
    for index, name in enumerate(
        (SUCCESS, FAILURE, _CUSTOM, REVOKED, STARTED, RECEIVED, REJECTED, RETRY, PENDING),
    )
}


def precedence(state: str) -> int:
    """Return the state's place in the order: the lower the number, the more final the state."""
    return _PRECEDENCE.get(state, _PRECEDENCE[_CUSTOM])


class state(str):
    """A state that compares by how final it is: `state(PENDING) < state(SUCCESS)`."""

    __slots__ = ()

    def __gt__(self, other: str) -> bool:
        return precedence(self) < precedence(other)

    def __ge__(self, other: str) -> bool:
        return precedence(self) <= precedence(other)

    def __lt__(self, other: str) -> bool:
        return precedence(self) > precedence(other)

    def __le__(self, other: str) -> bool:
        return precedence(self) >= precedence(other)
