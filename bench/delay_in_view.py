"""The cost of `.delay()` inside a view, before the commit, beside Celery's on Redis in the same kind of view.

One process serves requests to a Pyramid application with pyramid_tm. Each request calls one view, which measures one
`.delay()` and aborts. By then, our call has been checked, serialised and enlisted, and Celery's call has been sent.
This is the difference that a user notices in the view. Our commit then starts each message on the server. That time is
not part of `.delay()`.
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


ROUND = 50
"""Requests of one kind in a row, because an application uses only one kind and has warm caches."""

PEERS = {"celery": "Celery, Redis", "celery_results": "Celery, Redis, results kept"}
"""With a result backend, Celery subscribes to each result. Our results can always be read."""


def run(quick: bool) -> list[Figure]:
    rounds = 6 if quick else 40
    with (
        parts.temporal() as address,
        parts.redis() as broker,
        parts.python("-m", "bench.delay_in_view", address, BENCH_BROKER=broker) as process,
    ):
        seconds = process.ask("rounds", rounds)
    found = {kind: [each * 1e6 for each in values] for kind, values in seconds.items()}

    def figure(what: str, of: Callable[[list[float]], float], kind: str) -> Figure:
        return Figure(NAME, what, of(found["ours"]), of(found[kind]), "us", PEERS[kind], at_most=0.1)

    return [
        figure(what, of, kind)
        for kind in PEERS
        for what, of in (("median", statistics.median), ("95 of 100 are below", lambda each: percentile(each, 95)))
    ]


# --- in the process that serves -----------------------------------------------------------------------


def application(address: str) -> Any:
    from pyramid.config import Configurator

    from bench.application import noop
    from bench.celery_application import noop as celery_noop
    from bench.celery_application import noop_with_result as with_results

    settings = {
        "pyramid.includes": "pyramid_tm pyramid_temporal_compat",
        "tm.manager_hook": "pyramid_tm.explicit_manager",
        "ptemporal.address": address,
    }
    config = Configurator(settings=settings)
    for name, task in (("ours", noop), ("celery", celery_noop), ("celery_results", with_results)):
        config.add_route(name, f"/{name}")
        config.add_view(measured(task), route_name=name, renderer="json")
    return config.make_wsgi_app()


def measured(task: Any) -> Callable[[Any], dict[str, Any]]:
    def view(request: Any) -> dict[str, Any]:
        number = int(request.params["number"])
        began = time.perf_counter()
        result = task.delay(number)
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

    def rounds(count: int) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {"ours": [], **{kind: [] for kind in PEERS}}
        for name in found:  # connections, first imports
            for number in range(20):
                seconds(name, number)
        for _ in range(count):  # in turns, so that noise affects all kinds
            for name, values in found.items():
                values += [seconds(name, number) for number in range(ROUND)]
        return found

    answer_lines({"rounds": rounds})


if __name__ == "__main__":
    serve(sys.argv[1])
