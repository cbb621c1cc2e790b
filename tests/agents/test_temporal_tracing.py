"""`ptemporal.tracing = opentelemetry`: Temporal's own spans, and those of the view and of the task, are one trace."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import transaction
from pyramid.config import Configurator

from pyramid_temporal_compat import Celery, group
from pyramid_temporal_compat.current import APP_KEY, set_current_app
from pyramid_temporal_compat.enlist.dispatcher import start
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.native.request_temporal import temporal
from tests.agents.conftest import needs_agents
from tests.agents.packing import Packing
from tests.worker.shop import WorkerThread

needs_agents()
from opentelemetry import trace  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

QUEUE = f"traced-{uuid.uuid4().hex[:8]}"
EXPORTER = InMemorySpanExporter()


@pytest.fixture(scope="module")
def registry(temporal_address: str) -> Iterator[Any]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    trace.set_tracer_provider(provider)
    settings = {
        "ptemporal.address": temporal_address,
        "ptemporal.tracing": "opentelemetry",
        "celery.task_default_queue": QUEUE,
    }
    with Configurator(settings=settings) as config:
        config.include("pyramid_temporal_compat")
    app: Celery = config.registry[APP_KEY]

    @app.task(name="traced.wrap")
    def wrap(what: str) -> str:
        with trace.get_tracer("shop").start_as_current_span("tie a bow"):
            return f"wrapped {what}"

    with WorkerThread(app, QUEUE, workflows=[Packing]):
        yield config.registry
    app.close()
    set_current_app(None)


@contextmanager
def view(name: str) -> Iterator[None]:
    """A view's span, in a transaction that commits after the span has ended."""
    with transaction.manager, trace.get_tracer("shop").start_as_current_span(name):
        yield


def lines_of(name: str) -> set[str]:
    """Return the trace of a view: the name of each span, and that of its parent."""
    spans = {span.context.span_id: span for span in EXPORTER.get_finished_spans()}
    [view] = [span for span in spans.values() if span.name == name]
    trace_of_view = [span for span in spans.values() if span.context.trace_id == view.context.trace_id]
    return {f"{span.name} < {spans[span.parent.span_id].name}" for span in trace_of_view if span.parent}


def test_a_task_and_the_view_are_one_trace(registry: Any) -> None:
    with view("view of a task"):
        result = registry[APP_KEY].tasks["traced.wrap"].delay("pen")
    assert result.get(timeout=60) == "wrapped pen"
    assert lines_of("view of a task") >= {
        "StartWorkflow:traced.wrap < view of a task",
        "RunWorkflow:traced.wrap < StartWorkflow:traced.wrap",
        "RunActivity:traced.wrap < StartActivity:traced.wrap",
        "tie a bow < RunActivity:traced.wrap",
    }


def test_a_task_the_workflow_that_called_it_and_the_view_are_one_trace(registry: Any) -> None:
    with view("view of a workflow"):
        handle = temporal(registry).start_workflow(Packing.run, QUEUE, task_queue=QUEUE)
    assert handle.result(timeout=60) == "wrapped book"
    assert lines_of("view of a workflow") >= {
        "StartWorkflow:Packing < view of a workflow",
        "RunWorkflow:Packing < StartWorkflow:Packing",
        "RunActivity:traced.wrap < StartActivity:traced.wrap",
        "tie a bow < RunActivity:traced.wrap",
    }


def test_the_tasks_of_a_canvas_belong_to_the_trace(registry: Any) -> None:
    wrap = registry[APP_KEY].tasks["traced.wrap"]
    with view("view of a canvas"):
        result = group(wrap.s("pen"), wrap.s("book")).delay()
    assert sorted(result.get(timeout=60)) == ["wrapped book", "wrapped pen"]
    assert "tie a bow < RunActivity:traced.wrap" in lines_of("view of a canvas")


def test_the_trace_travels_in_the_message_as_the_outbox_keeps_it(registry: Any) -> None:
    app = registry[APP_KEY]
    with trace.get_tracer("shop").start_as_current_span("view of a row"):
        message, *_ = app.message("traced.wrap", ("cup",), {}, {}, app.tasks["traced.wrap"])
    envelope, *body = message.encode()
    read = Message.decode(envelope.data, body)
    app.temporal.call(lambda client: start(client, read))
    assert app.AsyncResult(message.id).get(timeout=60) == "wrapped cup"
    assert "StartWorkflow:traced.wrap < view of a row" in lines_of("view of a row")
