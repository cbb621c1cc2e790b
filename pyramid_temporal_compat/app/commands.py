"""The app and its commands: `app.Worker(...)`, `app.worker_main(argv)`, `app.start(argv)`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..worker.program import Program


class Commands:
    """What of an app runs a program."""

    def Worker(self, **options: Any) -> Program:
        """A worker with Celery's options; `start()` runs it."""
        from ..worker.program import Program  # the client library: 0.4 s, for who runs a worker

        return Program(self, **options)  # type: ignore[arg-type]

    WorkController = Worker

    def worker_main(self, argv: Sequence[str] | None = None) -> Any:
        """Run `ptemporal-compat worker` for this app, with these arguments or the process's own."""
        argv = list(sys.argv[1:] if argv is None else argv)
        if "worker" not in argv:
            raise ValueError(
                f"worker_main({argv!r}) names no worker command: worker_main(['worker', '-l', 'info']); start() is "
                "for other commands"
            )
        return self.start(argv)

    def start(self, argv: Sequence[str] | None = None) -> Any:
        """Run a command line for this app: `app.start(["worker", "-l", "info"])`."""
        from ..cli import run  # click and the commands

        return run(list(sys.argv[1:] if argv is None else argv), self)  # type: ignore[arg-type]
