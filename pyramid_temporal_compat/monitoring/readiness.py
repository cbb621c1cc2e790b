"""Whether a web process can send tasks, for the readiness probe of a Pyramid application."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..current import app_or_default
from ..log_lines.text_safety import one_line

if TYPE_CHECKING:
    from temporalio.client import Client

    from ..interfaces import AppLike

PATIENCE = 2.0


@dataclass(frozen=True)
class Readiness:
    """The answer. It is true in a condition if the process can send tasks."""

    ok: bool
    server: str
    """`answers`, or why the server does not."""
    seconds: float
    """How long the answer took."""

    def __bool__(self) -> bool:
        return self.ok


def readiness(app: AppLike | None = None, timeout: float = PATIENCE) -> Readiness:
    """Ask the server of an app, or of the current one, whether it is there. Raises nothing.

    It takes no longer than the timeout.

    With an outbox, a web process can accept tasks while the server is away: then the answer is for a dashboard, and not
    for the probe that takes the process out of service.
    """

    async def question(client: Client) -> Any:
        return await client.service_client.check_health()

    began = time.monotonic()
    try:
        app_or_default(app).temporal.call(question, timeout)
        well, text = True, "answers"
    except Exception as error:
        well, text = False, one_line(error)
    return Readiness(well, text, round(time.monotonic() - began, 3))
