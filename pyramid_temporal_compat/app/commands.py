"""The methods of an app that run a program: `app.Worker(...)`, `app.worker_main(argv)`, `app.start(argv)`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..worker.program import Program


class Commands:
    """The part of an app that runs a worker or another command."""

    def Worker(self, **options: Any) -> Program:
        """Return a worker that takes Celery's options; its `start()` runs it."""
        from ..worker.program import Program  # imports the client library: 0.4 s

        return Program(self, **options)  # type: ignore[arg-type]

    WorkController = Worker

    def worker_main(self, argv: Sequence[str] | None = None) -> Any:
        """Run `ptemporal-compat worker` for this app, with these arguments or the process's own."""
        argv = list(sys.argv[1:] if argv is None else argv)
        if "worker" not in argv:
            raise ValueError(
                f"worker_main({argv!r}) lacks the command 'worker'; write worker_main(['worker', '-l', 'info']). "
                "For other commands, use start()"
            )
        return self.start(argv)

    def start(self, argv: Sequence[str] | None = None) -> Any:
        """Run a command line for this app: `app.start(["worker", "-l", "info"])`."""
        from ..cli import run  # imports click and every command

        return run(list(sys.argv[1:] if argv is None else argv), self)  # type: ignore[arg-type]
