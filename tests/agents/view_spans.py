"""The span of a view, for agents that have no integration for Pyramid among what the tests install."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any


def opentelemetry() -> AbstractContextManager[Any]:
    from opentelemetry import trace

    return trace.get_tracer("shop").start_as_current_span("POST /buy")


@contextmanager
def elastic() -> Iterator[None]:
    import elasticapm

    client = elasticapm.get_client()
    client.begin_transaction("request")
    yield
    client.end_transaction("POST /buy", "200")


def scout() -> AbstractContextManager[Any]:
    from scout_apm.api import WebTransaction

    transaction: AbstractContextManager[Any] = WebTransaction("buy")
    return transaction


VIEW_SPANS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "OpenTelemetry": opentelemetry,
    "Elastic": elastic,
    "Scout": scout,
}
