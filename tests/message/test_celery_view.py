"""A message by Celery's names: headers of protocol 2, `self.request`, the entry of `inspect`."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from pyramid_temporal_compat.context import Context
from pyramid_temporal_compat.message.celery_view import (
    inspected,
    options_of,
    protocol_headers,
    request_values,
    stamp_names,
    stamps_of,
)
from pyramid_temporal_compat.message.message import OWN_OPTIONS, Message
from pyramid_temporal_compat.task.call_options import OPTIONS

MORNING = datetime.datetime(2030, 1, 1, 8, tzinfo=datetime.timezone.utc)
MESSAGE = Message(
    "shop.pack",
    "one",
    (),
    "parcels",
    expires=MORNING,
    priority=3,
    fairness_key="acme",
    retries=1,
    group="g",
    time_limit=60,
    headers={"tenant": 7},
)


def test_headers_have_celerys_names_and_plain_values() -> None:
    headers = protocol_headers(MESSAGE)
    assert headers["expires"] == "2030-01-01T08:00:00+00:00"
    assert (headers["group"], headers["timelimit"], headers["lang"]) == ("g", [60, None], "py")
    assert (headers["stamped_headers"], headers["stamps"]) == (None, {})
    assert "tenant" not in headers


def test_request_shows_what_the_worker_counted_and_the_applications_headers() -> None:
    request = Context(request_values(MESSAGE, retries=2, hostname="here", redelivered=True))
    assert (request.id, request.task, request.retries, request.hostname) == ("one", "shop.pack", 2, "here")
    assert request.headers == {"tenant": 7}
    assert request.delivery_info == {
        "exchange": "",
        "routing_key": "parcels",
        "priority": 3,
        "redelivered": True,
    }
    assert (request.time_limit, request.soft_time_limit) == (60, None)


def test_retry_sends_the_options_of_the_call_again() -> None:
    request = Context(request_values(MESSAGE, retries=2, hostname="here"))
    again = request.as_execution_options()
    assert again["fairness_key"] == "acme"
    assert again["group_id"] == "g"
    assert again["retries"] == 2
    assert again.keys() >= options_of(MESSAGE).keys()


def test_every_option_that_a_message_holds_is_one_of_apply_async() -> None:
    assert OPTIONS.keys() >= options_of(MESSAGE).keys() | OWN_OPTIONS.keys()


def test_waiting_task_is_listed_with_a_priority_of_0_if_it_has_none() -> None:
    listed = inspected(MESSAGE.copy(priority=None), "(1,)", "{}", "here")
    assert listed["delivery_info"]["priority"] == 0
    assert (listed["args"], listed["hostname"], listed["time_start"]) == ("(1,)", "here", None)


@pytest.mark.parametrize(
    ("headers", "names", "stamps"),
    [
        ({}, [], {}),
        ({"stamped_headers": ["shop"], "stamps": {"shop": ["a"]}}, ["shop"], {"shop": ["a"]}),
        ({"stamped_headers": ["shop", 5], "shop": "a"}, ["shop"], {"shop": "a"}),
        ({"stamped_headers": 5, "stamps": 6}, [], {}),
    ],
)
def test_stamps_are_read_from_whatever_the_headers_hold(headers: Any, names: list[str], stamps: Any) -> None:
    message = MESSAGE.copy(headers=headers)
    assert stamp_names(message) == names
    assert stamps_of(message) == stamps
