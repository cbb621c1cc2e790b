"""Monitoring tools wrap the runs of tasks in the same places as in Celery."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.task import trace

WATCHED = Path(__file__).parents[1] / "as_celery" / "watched.py"


@pytest.fixture
def app():
    return Celery("shop", set_as_current=False)


@pytest.fixture
def double(app):
    @app.task(name="double")
    def double(number):
        return number * 2

    return double


def test_sentrys_own_integration_reports_runs_and_errors():
    # Pyramid's import of pkg_resources warns. The test is about the warnings of Sentry and of this package.
    command = [sys.executable, "-W", "ignore:pkg_resources is deprecated", WATCHED]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    sent = [json.loads(line) for line in ended.stdout.splitlines()]
    errors = {
        event["extra"]["celery-job"]["task_name"]: event["exception"]["values"][-1]["type"]
        for event in sent
        if event["type"] == "event"
    }
    assert errors == {"buy": "ValueError", "book": "KeyError"}
    runs = [
        (event["transaction"], event["contexts"]["trace"]["op"]) for event in sent if event["type"] == "transaction"
    ]
    assert runs == [("buy", "queue.task.celery"), ("buy", "queue.task.celery"), ("book", "queue.task.celery")]


def test_a_replaced_build_tracer_wraps_every_run(double, monkeypatch):
    seen = []
    original = trace.build_tracer

    def build_tracer(name, task, *args, **kwargs):
        tracer = original(name, task, *args, **kwargs)

        def around(uuid, args, kwargs, request=None):
            outcome = tracer(uuid, args, kwargs, request)
            seen.append((name, uuid, args, request["task"], outcome.retval))
            return outcome

        return around

    monkeypatch.setattr(trace, "build_tracer", build_tracer)
    assert double.apply((4,), task_id="first").get() == 8
    assert seen == [("double", "first", (4,), "double", 8)]


def test_a_tracer_that_runs_nothing_is_an_error(double, monkeypatch):
    monkeypatch.setattr(trace, "build_tracer", lambda *args, **kwargs: lambda *args: None)
    with pytest.raises(RuntimeError, match=r"did not run task 'double'; its tracer must call the tracer that it wraps"):
        double.apply((4,))


def test_a_tracer_made_by_the_application_runs_the_task(double):
    assert trace.build_tracer("double", double)("an-id", (5,), {}).retval == 10


def test_task_has_custom_finds_methods_of_subclasses(app, double):
    class Loud(app.Task):
        def __call__(self, *args):
            return self.run(*args)

    loud = app.task(name="loud", base=Loud)(lambda number: number)
    assert [trace.task_has_custom(task, "__call__") for task in (double, loud)] == [False, True]
