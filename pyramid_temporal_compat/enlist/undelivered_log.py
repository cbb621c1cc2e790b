"""Describe a message that could not be started, for the log: enough to send it again, but nothing secret.

With encryption the log gets what the server would have got. A log is read, copied and kept by more people than may see
the arguments of tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..exceptions import ImproperlyConfigured
from ..log_lines.text_safety import one_line
from ..payload.codecs import Codec, chain


class Loggable(Protocol):
    """A message or canvas, as far as the log describes it."""

    @property
    def task(self) -> str: ...
    @property
    def summary(self) -> str: ...
    def for_log(self, codec: Codec | None = None) -> str: ...


def name_and_text(message: Loggable, codecs: Callable[[], Sequence[Codec]]) -> tuple[str, str]:
    """Return a name for the message, and its whole content as text.

    The name is the task's summary, which may show arguments; with codecs it is the bare name of the task.
    """
    try:
        found = codecs()
    except ImproperlyConfigured as error:  # the application asked for encryption: plain text would betray it
        return message.task, f"(not shown, since it can't be encrypted: {one_line(error)})"
    if not found:
        return message.summary, message.for_log()
    return message.task, message.for_log(chain(found))
