"""What is written for Celery, and what can't be: no server is needed."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from pyramid_temporal_compat import Celery, chain, chord, group, send_to_celery
from pyramid_temporal_compat.canvas.planner import as_unit, plan
from pyramid_temporal_compat.canvas.tree_ids import Ids
from pyramid_temporal_compat.celery_side.publisher import NotPublished, envelope, list_of, publish
from pyramid_temporal_compat.exceptions import ImproperlyConfigured, InvalidCall, InvalidTaskError
from pyramid_temporal_compat.message.celery_call import CeleryCall
from pyramid_temporal_compat.message.for_celery import NotForCelery, calls_for_celery
from pyramid_temporal_compat.outbox.relay import attempts_for
from pyramid_temporal_compat.outbox.row_format import decode_units, encode_units
from pyramid_temporal_compat.payload.codecs import chain as codec_of
from pyramid_temporal_compat.task.call_options import make_message

URL = "redis://user:secret@127.0.0.1:1/0"
app = Celery("written", set_as_current=False)
task = app.task(name="written.task")(lambda *args: None)


def message(*args: Any, **options: Any) -> Any:
    return make_message(app, "written.task", args, {}, options, task)


def calls(signature: Any) -> list[CeleryCall]:
    return calls_for_celery(as_unit(plan(signature, (), {}, {}, Ids()).node, app), URL)


def test_a_message_has_the_headers_and_the_body_of_protocol_2() -> None:
    eta = dt.datetime(2035, 1, 1, tzinfo=dt.timezone.utc)
    (call,) = calls_for_celery(message(1, eta, task_id="one", eta=eta, headers={"tenant": 7}, priority=8), URL)
    args, kwargs, embed = json.loads(call.body)
    assert args == [1, {"__type__": "datetime", "__value__": "2035-01-01T00:00:00+00:00"}]
    assert (kwargs, embed) == ({}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None})
    assert {"task": "written.task", "id": "one", "root_id": "one", "tenant": 7}.items() <= call.headers.items()
    assert call.eta == eta
    assert envelope(call, 1)["properties"]["priority"] == 1
    assert [list_of("q", priority) for priority in (0, 2, 3, 9)] == ["q", "q", "q\x06\x163", "q\x06\x169"]


def test_a_chain_holds_its_later_steps_last_first() -> None:
    (call,) = calls(chain(task.s(1), task.si(2), task.s(3).set(countdown=5)))
    steps = json.loads(call.body)[2]["chain"]
    assert [step["args"] for step in steps] == [[3], [2]]
    assert [step["immutable"] for step in steps] == [False, True]
    assert steps[0]["options"]["countdown"] == 5
    assert [each.id for each in call.messages] == [call.id, *(step["options"]["task_id"] for step in reversed(steps))]


def test_a_group_is_a_message_for_each_member() -> None:
    found = calls(group(task.s(1), chain(task.s(2), task.s(3))))
    assert len({call.messages[-1].group for call in found}) == 1
    assert json.loads(found[1].body)[2]["chain"][0]["options"]["group_id"] == found[0].headers["group"]
    assert [len(call.messages) for call in found] == [1, 2]


@pytest.mark.parametrize(
    "signature",
    [
        chord([task.s(1)], task.s()),
        chain(task.s(1), group(task.s(2), task.s(3)), task.s()),
        task.s(1).set(link=chain(task.s(), task.s())),
        task.s({1, 2}),
        task.s(1).set(serializer="yaml"),
    ],
)
def test_what_only_celery_or_only_we_can_write_is_refused(signature: Any) -> None:
    with pytest.raises(NotForCelery):
        calls(signature)


def test_a_call_comes_back_from_an_outbox_row_and_its_log_line_has_no_password() -> None:
    (call,) = calls_for_celery(message("x"), URL)
    assert decode_units(encode_units([call], codec_of(())), codec_of(())) == [call]
    assert "secret" not in call.for_log() + repr(call)
    about, body = call.encode()
    for changes in ({"queue": ""}, {"headers": 1}, {"priority": 10}, {"ptemporal-celery": 2}):
        with pytest.raises(InvalidTaskError, match="not a call of a Celery task"):
            CeleryCall.decode(json.dumps({**json.loads(about.data), **changes}).encode(), [body])


def test_a_broker_that_is_away_is_an_error_that_an_outbox_row_outlives() -> None:
    (call,) = calls_for_celery(message("x"), URL)
    with pytest.raises(NotPublished, match="the broker at redis://user") as raised:
        publish(call)
    assert "secret" not in str(raised.value)
    assert attempts_for(raised.value) == float("inf")


def test_send_to_celery_refuses_what_it_would_ignore() -> None:
    with pytest.raises(ImproperlyConfigured, match="sqs://key"):
        send_to_celery("sqs://key:secret@", "other.task")
    with pytest.raises(InvalidCall, match="does not take link"):
        send_to_celery(URL, "other.task", link=task.s())
    with pytest.raises(InvalidCall, match="Celery's JSON does not have"):
        send_to_celery(URL, "other.task", ({1},))
    with pytest.raises(InvalidCall, match="queue=''"):
        send_to_celery(URL, "other.task", queue="")
