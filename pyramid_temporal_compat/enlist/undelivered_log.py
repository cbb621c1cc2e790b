"""What a log is told of a message that could not be started: enough to send it again, and no more than is allowed.

With encryption the log gets what the server would have got: a log is read, copied and kept by more people than are
meant to see what tasks are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..exceptions import ImproperlyConfigured
from ..payload.codecs import Codec, chain
from ..text_safety import one_line


class Told(Protocol):
    @property
    def task(self) -> str: ...
    @property
    def summary(self) -> str: ...
    def for_log(self, codec: Codec | None = None) -> str: ...


def told_of(message: Told, codecs: Callable[[], Sequence[Codec]]) -> tuple[str, str]:
    """What the message is called, and the whole of it."""
    try:
        found = codecs()
    except ImproperlyConfigured as error:  # whoever asked for encryption did not ask for this
        return message.task, f"(not shown, since it can't be encrypted: {one_line(error)})"
    if not found:
        return message.summary, message.for_log()
    return message.task, message.for_log(chain(found))
