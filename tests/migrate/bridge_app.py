"""The application that the tests of the bridge carry for: here on Temporal, there on Celery."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from pyramid_temporal_compat import Celery

ran: Counter[str] = Counter()
"""How often each task ran in this process, by its id."""
seen: dict[str, dict[str, Any]] = {}
"""What the tasks saw, by their ids."""

app = Celery("carried", set_as_current=False)
app.conf.update(task_default_queue="carried", broker_url=f"temporal://{os.environ.get('CARRIED_TO', '127.0.0.1:1')}")
app.conf["ptemporal.dispatch_timeout"] = 1.0


@app.task(name="shop.add", bind=True)
def add(self: Any, *numbers: int) -> int:
    ran[self.request.id] += 1
    seen[self.request.id] = {"headers": self.request.headers, "retries": self.request.retries}
    return sum(numbers)


@app.task(name="shop.note", bind=True)
def note(self: Any, value: Any) -> Any:
    ran[self.request.id] += 1
    return value


@app.task(name="shop.total", bind=True)
def total(self: Any, values: Any) -> Any:
    ran[self.request.id] += 1
    return sum(values)
