"""Which queue a call goes to."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.exceptions import QueueNotFound
from pyramid_temporal_compat.task.call_options import make_message


class Queue:
    """A queue as kombu has it: a name, an exchange and a routing key."""

    def __init__(self, name: str, exchange: Any = None, routing_key: str | None = None) -> None:
        self.name = name
        self.exchange = exchange
        self.routing_key = routing_key


def queue_of(name: str, settings: dict[str, Any], **options: Any) -> str:
    app = Celery("routes", set_as_current=False)
    app.conf.update(settings)
    return make_message(app, name, (), {}, options, None).queue


@pytest.mark.parametrize(
    ("routes", "queue"),
    [
        ({"video.encode": "video"}, "video"),
        ({"video.encode": {"queue": "video"}}, "video"),
        ({"video.*": {"queue": Queue("video")}}, "video"),
        ({re.compile(r"(video|image)\..*"): {"queue": "media"}}, "media"),
        (([("image.*", "images"), ("video.*", "video")],), "video"),
        ([{"image.*": "images"}, {"video.*": "video"}], "video"),
        (lambda name, args, kwargs, options, task=None, **kw: {"queue": name.partition(".")[0]}, "video"),
        ("tests.task.test_routing.by_name", "routed"),
        ({"image.*": "images"}, "celery"),
        (None, "celery"),
    ],
)
def test_a_route_chooses_the_queue(routes: Any, queue: str) -> None:
    assert queue_of("video.encode", {"task_routes": routes}) == queue


def by_name(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **more: Any) -> dict[str, str]:
    return {"queue": "routed"}


def test_the_queue_of_the_call_overrides_the_routes() -> None:
    assert queue_of("video.encode", {"task_routes": {"video.*": "video"}}, queue="now") == "now"


def test_a_route_may_set_other_options() -> None:
    app = Celery("routes", set_as_current=False)
    app.conf.task_routes = {"video.*": {"queue": "video", "priority": 7}}
    message = make_message(app, "video.encode", (), {}, {}, None)
    assert (message.queue, message.priority) == ("video", 7)
    assert make_message(app, "video.encode", (), {}, {"priority": 1}, None).priority == 1


def test_the_setting_names_the_default_queue() -> None:
    assert queue_of("video.encode", {"task_default_queue": "items"}) == "items"


def test_a_routing_key_or_an_exchange_names_the_queue_that_is_bound_to_it() -> None:
    exchange = type("Exchange", (), {"name": "media"})()
    queues = {"task_queues": [Queue("video", exchange, "video.encode"), Queue("mail", None, "mail")]}
    assert queue_of("x", queues, routing_key="video.encode") == "video"
    assert queue_of("x", queues, exchange="media") == "video"
    assert queue_of("x", queues, exchange=exchange, routing_key="video.encode") == "video"
    assert queue_of("x", queues, routing_key="mail") == "mail"
    with pytest.raises(QueueNotFound, match="no queue of task_queues is bound to exchange 'nowhere'"):
        queue_of("x", queues, exchange="nowhere")


def test_undeclared_queues_are_refused_if_task_create_missing_queues_is_off() -> None:
    settings = {"task_queues": [Queue("video")], "task_create_missing_queues": False}
    assert queue_of("x", settings, queue="video") == "video"
    with pytest.raises(QueueNotFound, match=r"queue 'vidoe' is not in task_queues \(video\)"):
        queue_of("x", settings, queue="vidoe")
