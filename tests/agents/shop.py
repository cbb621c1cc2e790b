"""An application under an agent, which its first line starts: `tracing.py` is a block of the guide.

`python -m tests.agents.shop INI` calls its view once, and prints the ids of the tasks and how they ended.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from typing import Any

import tracing  # type: ignore[import-not-found]  # isort: skip

from pyramid.config import Configurator
from pyramid.paster import get_app
from webtest import TestApp

from tests.agents.view_spans import VIEW_SPANS

celery = importlib.import_module(os.environ["SHOP_IMPORTS"])
"""`celery`, or this package for an application whose imports are swapped."""


@celery.shared_task
def pack(number: int) -> int:
    return number


@celery.shared_task
def drop() -> None:
    raise ValueError("it is broken")


@celery.shared_task(bind=True)
def weigh(self: Any) -> str:
    if not self.request.retries:
        raise self.retry(countdown=0)
    return "light"


def buy(request: Any) -> dict[str, str]:
    """Call three tasks in one transaction."""
    with VIEW_SPANS.get(os.environ["SHOP_AGENT"], contextlib.nullcontext)():
        results = [pack.delay(1), drop.delay(), weigh.delay()]
    return dict(zip(("pack", "drop", "weigh"), (result.id for result in results), strict=True))


def main(global_config: Any, **settings: Any) -> Any:
    config = Configurator(settings=settings)
    config.add_route("buy", "/buy")
    config.add_view(buy, route_name="buy", renderer="json")
    return config.make_wsgi_app()


if __name__ == "__main__":
    assert tracing
    ids = TestApp(get_app(sys.argv[1])).post("/buy").json
    states = {}
    for name, task_id in ids.items():
        result = celery.current_app.AsyncResult(task_id)
        result.get(timeout=60, propagate=False)
        states[name] = (task_id, result.state)
    print(json.dumps(states))
