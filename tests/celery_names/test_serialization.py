"""`kombu.serialization` uses the same serialisers as tasks."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import kombu.serialization as theirs
import pytest

from pyramid_temporal_compat import exceptions
from pyramid_temporal_compat.celery_names import serialization as ours
from pyramid_temporal_compat.payload import serializers


@pytest.fixture
def shout() -> Iterator[str]:
    """Register a serialiser, as an application does."""
    ours.register(
        "shout", lambda value: json.dumps(value).upper(), lambda data: json.loads(data), "application/x-shout"
    )
    yield "shout"
    ours.unregister("shout")


@pytest.fixture(autouse=True)
def as_at_the_start() -> Iterator[None]:
    yield
    ours.enable_insecure_serializers(["application/x-shout"])
    ours.disable_insecure_serializers()


@pytest.mark.parametrize(
    ("value", "serializer"),
    [
        ({"a": [1, None]}, None),
        ({"a": [1, None]}, "json"),
        ("text", None),
        ("text", "json"),
        (b"bytes", None),
        ("text", "raw"),
        (b"bytes", "raw"),
        ({"a": 1}, "pickle"),
        ({"a": 1}, "yaml"),
        ({"a": 1}, "msgpack"),
    ],
)
def test_round_trips_are_the_same_as_kombus(value: Any, serializer: str | None) -> None:
    kind, encoding, body = ours.dumps(value, serializer)
    their_kind, their_encoding, their_body = theirs.dumps(value, serializer)
    assert (kind, encoding, type(body)) == (their_kind, their_encoding, type(their_body))
    assert ours.loads(body, kind, encoding, force=True) == theirs.loads(body, kind, encoding, force=True)
    assert ours.loads(their_body, their_kind, their_encoding, force=True) == theirs.loads(
        their_body, their_kind, their_encoding, force=True
    )


def test_tasks_can_use_a_serializer_registered_through_kombus_names(shout: str) -> None:
    assert ours.dumps(["a"], shout) == ("application/x-shout", "utf-8", '["A"]')
    assert ours.loads('["A"]', "application/x-shout", "utf-8") == ["A"]
    payload = serializers.serialize(["a"], shout)
    assert serializers.deserialize(payload, accept=[shout]) == ["A"]
    assert ours.registry.name_to_type[shout] == "application/x-shout"
    assert ours.registry.type_to_name["application/x-shout"] == shout


def test_dates_travel_by_json() -> None:
    when = dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc)
    kind, encoding, body = ours.dumps({"when": when})
    assert ours.loads(body, kind, encoding) == {"when": when}


@pytest.mark.parametrize("name", ["pickle", "yaml", "msgpack"])
def test_an_insecure_serializer_is_refused_until_it_is_enabled(name: str) -> None:
    kind, encoding, body = ours.dumps({"a": 1}, name)
    with pytest.raises(exceptions.ContentDisallowed, match="enable_insecure_serializers"):
        ours.loads(body, kind, encoding)
    assert ours.loads(body, kind, encoding, accept={kind}) == {"a": 1}
    ours.enable_insecure_serializers([name])
    assert ours.loads(body, kind, encoding) == {"a": 1}
    ours.disable_insecure_serializers()
    with pytest.raises(exceptions.ContentDisallowed):
        ours.loads(body, kind, encoding)


def test_accept_overrides_the_disabled_serializers(shout: str) -> None:
    with pytest.raises(exceptions.ContentDisallowed, match="only"):
        ours.loads('["A"]', "application/x-shout", "utf-8", accept={"application/json"})
    ours.disable_insecure_serializers([])
    with pytest.raises(exceptions.ContentDisallowed):
        ours.loads("[]", "application/json", "utf-8")
    assert ours.prepare_accept_content(["json", "application/x-own"]) == {"application/json", "application/x-own"}
    assert ours.prepare_accept_content(None) is None


def test_errors_are_caught_by_kombus_names() -> None:
    with pytest.raises(exceptions.EncodeError):
        ours.dumps(object(), "json")
    with pytest.raises(exceptions.DecodeError):
        ours.loads("{", "application/json", "utf-8")
    with pytest.raises(exceptions.SerializerNotInstalled, match="no serializer is called 'nonsense'"):
        ours.dumps({}, "nonsense")
    with pytest.raises(exceptions.SerializerNotInstalled):
        ours.unregister("nonsense")
    for name in ("EncodeError", "DecodeError", "ContentDisallowed", "SerializerNotInstalled", "OperationalError"):
        assert issubclass(getattr(exceptions, name), exceptions.KombuError)
    assert issubclass(exceptions.ContentDisallowed, exceptions.SerializerNotInstalled)


def test_removing_a_serializer_keeps_another_with_the_same_content_type() -> None:
    raw = serializers.find(serializers.RAW_TYPE)
    ours.register("sealed", str, str, serializers.RAW_TYPE)
    assert serializers.find(serializers.RAW_TYPE).name == "sealed"
    ours.unregister("sealed")
    assert serializers.find(serializers.RAW_TYPE) is raw
