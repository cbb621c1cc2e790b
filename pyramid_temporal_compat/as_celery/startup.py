"""Functions that Celery has for the start of a program, and functions of its old modules, such as `celery.execute`.

The functions of the old modules call the current app.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..celery_names.refused import Unsupported
from .local_proxies import Proxy, current_app

GREEN = ("gevent", "eventlet")
NO_GREEN = "temporalio's runtime has threads of its own, which gevent and eventlet don't know; use `-P threads`"

# Applications add the names of their own result stores to this dict. Nothing reads it.
BACKEND_ALIASES: dict[str, str] = {}


def maybe_patch_concurrency(
    argv: Sequence[str] | None = None,
    short_opts: Sequence[str] | None = None,
    long_opts: Sequence[str] | None = None,
    patches: Mapping[str, Callable[[], Any]] | None = None,
) -> None:
    """Call the patch for the pool that the command line names. Refuse gevent and eventlet without a patch."""
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
    """Call `send_task` of the current app."""
    return current_app.send_task(*args, **kwargs)


def get_default_logger(*args: Any, **kwargs: Any) -> Any:
    """Call `log.get_default_logger` of the current app."""
    return current_app.log.get_default_logger(*args, **kwargs)


def setup_logging_subsystem(*args: Any, **kwargs: Any) -> Any:
    """Call `log.setup_logging_subsystem` of the current app."""
    return current_app.log.setup_logging_subsystem(*args, **kwargs)


def redirect_stdouts_to_logger(*args: Any, **kwargs: Any) -> Any:
    """Call `log.redirect_stdouts_to_logger` of the current app."""
    return current_app.log.redirect_stdouts_to_logger(*args, **kwargs)


tasks: Any = Proxy(lambda: current_app.tasks, name="tasks")
