"""Errors that an attacker has written: what `get()` raises is an error and nothing more."""

from __future__ import annotations

import json
import sys
import traceback
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
import webob.exc
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound, HTTPOk
from pyramid.request import Request
from pyramid.response import Response
from temporalio.api.command.v1 import Command, FailWorkflowExecutionCommandAttributes
from temporalio.api.common.v1 import Payload as ProtoPayload
from temporalio.api.enums.v1 import CommandType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure

from pyramid_temporal_compat.exceptions import Reject
from pyramid_temporal_compat.payload.errors import from_wire
from tests.security.conftest import PATIENCE, Target

SCRIPT = "<script>steal()</script>"
HEADERS = [["Content-Type", "text/html"], ["Set-Cookie", "session=stolen"], ["Location", "https://evil.example"]]
STATE = {
    "_headerlist": {"value": HEADERS},
    "_status": {"value": "200 OK"},
    "status": {"value": "200 OK"},
    "_app_iter": {"value": [SCRIPT]},
    "app_iter": {"value": [SCRIPT]},
    "body": {"value": SCRIPT},
    "__providedBy__": {"value": "IResponse"},
    "__provides__": {"value": "IResponse"},
    "__call__": {"value": "x"},
}


class OwnResponse(Response, Exception):  # type: ignore[misc]  # as an application may well write it
    pass


class OwnTeapot(HTTPFound):
    pass


class Served(Exception):
    """An error that is a WSGI application."""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"served"]


def forged(cls: Any, **more: Any) -> dict[str, Any]:
    wire = {
        "module": cls.__module__,
        "type": cls.__qualname__,
        "text": SCRIPT,
        "args": [{"value": SCRIPT}],
        "call": [],
        "kwargs": {"body": {"value": SCRIPT}, "headerlist": {"value": HEADERS}, "location": {"value": "//evil"}},
        "state": STATE,
    }
    return {**wire, **more}


def forge_failure(target: Target, error: Mapping[str, Any] | None, text: str = SCRIPT, type: str = "Evil") -> str:
    """Fail a task's workflow with this error. Return its id."""
    details = ProtoPayload(metadata={"encoding": b"json/plain"}, data=json.dumps(error).encode())
    failure = Failure(message=text)
    failure.application_failure_info.CopyFrom(ApplicationFailureInfo(type=type, non_retryable=True))
    if error is not None:
        failure.application_failure_info.details.payloads.append(details)
    end = Command(
        command_type=CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION,
        fail_workflow_execution_command_attributes=FailWorkflowExecutionCommandAttributes(failure=failure),
    )
    return target.forge_end(str(uuid.uuid4()), end)


def browser_gets(target: Target, task_id: str) -> str:
    """Return what a browser is sent by a view that calls `get()` of this task, or which error the view raises."""

    def view(request: Request) -> Any:
        return Response(str(target.app.AsyncResult(task_id).get(timeout=PATIENCE)))

    with Configurator() as config:
        config.add_route("result", "/")
        config.add_view(view, route_name="result")
        router = config.make_wsgi_app()
    try:
        response = Request.blank("/").get_response(router)
    except Exception as error:
        return f"raised {type(error).__name__}"
    return f"{response.status} {response.headerlist} {response.text}"


RESPONSES = [HTTPOk, HTTPFound, webob.exc.HTTPFound, webob.exc.HTTPOk, OwnResponse, OwnTeapot, Served]


@pytest.mark.parametrize("cls", RESPONSES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_a_forged_failure_never_becomes_the_answer_to_a_browser(target: Target, cls: Any) -> None:
    task_id = forge_failure(target, forged(cls))
    assert browser_gets(target, task_id) == f"raised {cls.__name__}"


@pytest.mark.parametrize("cls", RESPONSES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_no_error_within_an_error_is_a_response_either(cls: Any) -> None:
    inner = forged(cls)
    outer = {
        "module": "builtins",
        "type": "ValueError",
        "args": [{"error": inner}, {"tuple": [{"error": inner}]}],
        "state": {"response": {"error": inner}},
        "cause": inner,
        "context": inner,
    }
    error: Any = from_wire(outer)
    for found in (error.args[0], error.args[1][0], error.response, error.__cause__, error.__context__):
        assert type(found).__name__ == cls.__name__
        assert not isinstance(found, cls)
        assert not callable(found)


class ActsWhenMade(Exception):
    """An error of the application whose own code acts."""

    acted: list[str] = []  # noqa: RUF012

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.acted.append("made")
        super().__init__(*args)

    def __new__(cls, *args: Any) -> Any:
        cls.acted.append("new")
        return super().__new__(cls, *args)

    def __setstate__(self, state: Any) -> None:
        self.acted.append("state")

    def __setattr__(self, name: str, value: Any) -> None:
        self.acted.append("set")

    @property
    def url(self) -> str:
        return "own"

    @url.setter
    def url(self, value: str) -> None:
        self.acted.append(f"fetched {value}")

    def method(self) -> str:
        return "own"


def test_no_code_of_a_class_runs_to_make_an_error_of_it() -> None:
    state = {"url": {"value": "http://169.254.169.254"}, "method": {"value": 1}, "code": {"value": 5}}
    for call in ([], [{"value": SCRIPT}], [{"value": 1}] * 3):
        error: Any = from_wire(forged(ActsWhenMade, call=call, state=state))
        assert isinstance(error, ActsWhenMade)
        assert (error.args, error.code, error.method(), error.url) == ((SCRIPT,), 5, "own", "own")
    assert ActsWhenMade.acted == []


def test_python_imports_nothing_when_it_prints_a_forged_import_error(tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "acts_on_import.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    state = {"name": {"value": "acts_on_import"}, "name_from": {"value": "x"}, "path": {"value": "x"}}
    error = from_wire({"module": "builtins", "type": "ImportError", "args": [], "state": state, "text": ""})
    "".join(traceback.format_exception(error))
    assert getattr(error, "name_from", None) is None
    assert "acts_on_import" not in sys.modules


@pytest.mark.parametrize("name", ["Reject", "Ignore", "Retry", "TaskReplaced"])
def test_a_forged_failure_does_not_end_the_task_that_reads_it_in_another_way(target: Target, name: str) -> None:
    error = {"module": Reject.__module__, "type": name, "args": [], "text": "x", "kwargs": {"requeue": {"value": True}}}
    reads = target.app.tasks["shop.read"].delay(forge_failure(target, error))
    status = target.ended(reads.id)
    assert status.state == "FAILURE"
    assert status.error is not None
    assert status.error["type"] == name
