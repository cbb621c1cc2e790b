"""What Celery has for the start of a program, and under the names of its old modules: the current app's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..celery_names.refused import Unsupported
from .local_proxies import Proxy, current_app

GREEN = ("gevent", "eventlet")
NO_GREEN = "temporalio's runtime has threads of its own, which gevent and eventlet don't know: use `-P threads`"

# Applications add to it where their settings name a store of their own; no store is ever looked up.
BACKEND_ALIASES: dict[str, str] = {}


def maybe_patch_concurrency(
    argv: Sequence[str] | None = None,
    short_opts: Sequence[str] | None = None,
    long_opts: Sequence[str] | None = None,
    patches: Mapping[str, Callable[[], Any]] | None = None,
) -> None:
    """See to what the pool that the command line asks for needs; gevent and eventlet are refused."""
    pool = _option(argv or sys.argv, short_opts or ["-P"], long_opts or ["--pool"])
    if pool and patches and pool in patches:
        patches[pool]()
    elif pool in GREEN:
        raise Unsupported(f"the pool {pool!r} is refused here: {NO_GREEN}")


def _option(argv: Sequence[str], short: Sequence[str], long: Sequence[str]) -> str | None:
    for index, word in enumerate(argv):
        name, has_value, value = word.partition("=")
        if word in short or name in long:
            return value if has_value else next(iter(argv[index + 1 :]), None)
    return None


def send_task(*args: Any, **kwargs: Any) -> Any:
    return current_app.send_task(*args, **kwargs)


def get_default_logger(*args: Any, **kwargs: Any) -> Any:
    return current_app.log.get_default_logger(*args, **kwargs)


def setup_logging_subsystem(*args: Any, **kwargs: Any) -> Any:
    return current_app.log.setup_logging_subsystem(*args, **kwargs)


def redirect_stdouts_to_logger(*args: Any, **kwargs: Any) -> Any:
    return current_app.log.redirect_stdouts_to_logger(*args, **kwargs)


tasks: Any = Proxy(lambda: current_app.tasks, name="tasks")
