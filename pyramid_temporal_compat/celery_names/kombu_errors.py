"""Errors of kombu that nothing here raises, because there is no broker. `except` clauses may name them."""

from __future__ import annotations

from ..exceptions import KombuError


class BatchPublishError(KombuError):
    """Some of several messages may not have been sent."""


class NotBoundError(KombuError):
    """A queue or an exchange was used without a channel."""


class MessageStateError(KombuError):
    """A message was acknowledged twice."""


class LimitExceeded(KombuError):
    """A limit was exceeded."""


class ConnectionLimitExceeded(LimitExceeded):
    """There are too many connections."""


class ChannelLimitExceeded(LimitExceeded):
    """There are too many channels."""


class VersionMismatch(KombuError):
    """A library has the wrong version."""


class ConnectionError(KombuError):
    """The connection to the broker was lost."""


class ChannelError(KombuError):
    """The broker closed a channel."""


class ResourceError(ChannelError):
    """The broker could not create or find something."""


class InconsistencyError(ConnectionError):
    """The broker lacks an object that it should have."""


class HttpError(Exception):
    """An HTTP request of a transport failed."""

    def __init__(self, code: int, message: str | None = None, response: object = None) -> None:
        self.code = code
        self.message = message
        self.response = response
        super().__init__(code, message, response)

    def __str__(self) -> str:
        return f"HTTP {self.code}: {self.message}"


class RestartFreqExceeded(Exception):
    """Processes of billiard's pool had to be replaced too often."""


class CoroStop(Exception):
    """A coroutine of billiard ended."""
