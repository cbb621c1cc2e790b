"""What `.delay()` costs inside a view before the commit, next to Celery's on Redis in the same kind of view.

One process serves requests to a Pyramid application with pyramid_tm. Each request calls one view, which
measures one `.delay()` and aborts: ours has then been checked, serialised and enlisted, Celery's has been sent.
(That is the comparison that the user feels in the view. What our commit adds is a start on the server for each
message; `.delay()` is out of it.)
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from . import parts
from .table import Figure, percentile

NAME = "delay"
TITLE = "`.delay()` in a view, before the commit"


def run(quick: bool) -> list[Figure]:
    requests = 300 if quick else 2000
    with parts.temporal() as address, parts.redis() as broker:
        with parts.python("-m", "bench.delay_in_view", address, BENCH_BROKER=broker) as process:
            seconds = process.ask("requests", requests)
    ours, theirs = ([each * 1e6 for each in seconds[kind]] for kind in ("ours", "celery"))

    def figure(what: str, of: Callable[[list[float]], float], at_most: float | None = None) -> Figure:
        return Figure(NAME, what, of(ours), of(theirs), "us", "Celery, Redis", at_most=at_most)

    return [
        figure("median", statistics.median, at_most=0.1),
        figure("95 of 100 are below", lambda values: percentile(values, 95), at_most=0.1),
    ]


# --- in the process that serves -----------------------------------------------------------------------


def application(address: str) -> Any:
    from pyramid.config import Configurator

    from bench.application import noop
    from bench.celery_application import noop as celery_noop

    settings = {
        "pyramid.includes": "pyramid_tm pyramid_temporal_compat",
        "tm.manager_hook": "pyramid_tm.explicit_manager",
        "ptemporal.address": address,
    }
    config = Configurator(settings=settings)
    for name, task in (("ours", noop), ("celery", celery_noop)):
        config.add_route(name, f"/{name}")
        config.add_view(measured(task), route_name=name, renderer="json")
    return config.make_wsgi_app()


def measured(task: Any) -> Callable[[Any], dict[str, Any]]:
    def view(request: Any) -> dict[str, Any]:
        began = time.perf_counter()
        result = task.delay(number=request.params["number"])
        seconds = time.perf_counter() - began
        request.tm.doom()
        return {"id": result.id, "seconds": seconds}

    return view


def serve(address: str) -> None:
    from pyramid.request import Request

    from bench.client import answer_lines

    wsgi_app = application(address)

    def seconds(name: str, number: int) -> float:
        response = Request.blank(f"/{name}?number={number}").get_response(wsgi_app)
        assert response.status_code == 200, response.text
        return float(json.loads(response.body)["seconds"])

    def requests(count: int) -> dict[str, list[float]]:
        for number in range(20):  # connections, first imports
            seconds("ours", number), seconds("celery", number)
        found: dict[str, list[float]] = {"ours": [], "celery": []}
        for number in range(count):  # in turns, so that noise hits both
            for name in found:
                found[name].append(seconds(name, number))
        return found

    answer_lines({"requests": requests})


if __name__ == "__main__":
    serve(sys.argv[1])
