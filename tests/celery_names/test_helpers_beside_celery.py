"""Our helpers return the same as those in `celery.utils` and kombu, for the same arguments."""

from __future__ import annotations

import copy
import datetime as dt
import json
import pickle
import uuid
from decimal import Decimal
from typing import Any

import celery.utils as their_utils
import celery.utils.functional as their_functional
import celery.utils.imports as their_imports
import celery.utils.nodenames as their_nodenames
import celery.utils.text as their_text
import kombu
import kombu.utils.json as their_json
import kombu.utils.url as their_urls
import pytest

from pyramid_temporal_compat.as_celery import Unsupported
from pyramid_temporal_compat.celery_names import (
    functional,
    importing,
    json_names,
    nodenames,
    urls,
)
from pyramid_temporal_compat.celery_names import (
    kombu_queues as queues,
)

# --- functions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("padlist", (["a", "b"], 3, "x")),
        ("padlist", (["a", "b", "c"], 2)),
        ("is_list", ((1, 2),)),
        ("is_list", ("text",)),
        ("is_list", ({"a": 1},)),
        ("is_list", (7,)),
        ("maybe_list", ("text",)),
        ("maybe_list", ([1],)),
        ("maybe_list", (None,)),
        ("dictfilter", ({"a": None, "b": 0},)),
        ("first", (None, [None, 0, 1])),
        ("first", (bool, [None, 0, 1])),
        ("noop", (1,)),
    ],
)
def test_small_functions_return_the_same_as_celerys(name: str, arguments: tuple[Any, ...]) -> None:
    assert getattr(functional, name)(*arguments) == getattr(their_functional, name)(*arguments)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11])
def test_chunks_are_the_same_as_celerys(count: int) -> None:
    ours, theirs = functional.chunks(iter(range(count)), 5), their_functional.chunks(iter(range(count)), 5)
    assert list(ours) == list(theirs)
    assert list(functional.uniq([3, 1, 3, 2, 1])) == [3, 1, 2]


@pytest.mark.parametrize("text", ["short", "words that are many and go on", "x" * 20, "a\nb\n"])
def test_texts_are_truncated_as_in_celery(text: str) -> None:
    assert functional.truncate(text, 12) == their_text.truncate(text, 12)
    assert functional.indent(text, 2) == their_text.indent(text, 2)
    assert functional.pluralize(2, text) == their_text.pluralize(2, text)


def test_memoize_remembers_and_counts_as_kombus_does() -> None:
    for memoize in (functional.memoize, their_functional.memoize):
        calls: list[int] = []

        @memoize(maxsize=2)
        def double(number: int, calls: list[int] = calls) -> int:
            calls.append(number)
            return 2 * number

        assert [double(number) for number in (1, 2, 1, 3, 2)] == [2, 4, 2, 6, 4]
        assert calls == [1, 2, 3, 2]
        assert (double.hits, double.misses) == (1, 4)
        double.clear()
        assert double(1) == 2
        assert (double.hits, double.misses) == (0, 1)


def test_a_cached_property_keeps_its_value_and_calls_fset_and_fdel() -> None:
    told: list[object] = []

    class Thing:
        made = 0

        @functional.cached_property
        def value(self) -> int:
            self.made += 1
            return self.made

        @value.setter
        def value(self, new: int) -> int:
            told.append(new)
            return new * 10

        @value.deleter
        def value(self, old: int) -> None:
            told.append(("gone", old))

    thing = Thing()
    assert (thing.value, thing.value) == (1, 1)
    thing.value = 5
    assert thing.value == 50
    del thing.value
    assert thing.value == 2
    assert told == [5, ("gone", 50)]
    assert isinstance(Thing.value, functional.cached_property)


def test_lazy_values_are_made_on_use() -> None:
    made: list[int] = []
    each = functional.lazy(lambda: made.append(1) or len(made))
    assert (each(), functional.maybe_evaluate(each), functional.maybe_evaluate(7)) == (1, 2, 7)
    once = functional.mlazy(lambda: made.append(1) or len(made))
    assert (once(), once(), str(once)) == (3, 3, "3")


def test_an_lru_cache_drops_the_least_recently_used_entry() -> None:
    cache = functional.LRUCache(limit=2)
    cache.update(a=1, b=2)
    assert cache["a"] == 1
    cache["c"] = 3
    assert set(cache) == {"a", "c"}
    cache["n"] = "4"
    assert cache.incr("n") == 5
    assert dict(pickle.loads(pickle.dumps(cache))) == dict(cache)


# --- names of modules, workers, brokers ------------------------------------------------------------


@pytest.mark.parametrize("name", ["json.decoder.JSONDecoder", "json.decoder:JSONDecoder", "json", json])
def test_symbols_are_found_as_celery_finds_them(name: Any) -> None:
    assert importing.symbol_by_name(name) is their_imports.symbol_by_name(name)


def test_a_missing_symbol_raises_or_gives_the_default() -> None:
    with pytest.raises(AttributeError):
        importing.symbol_by_name("json:nothing")
    assert importing.symbol_by_name("json:nothing", default=3) == 3
    assert importing.symbol_by_name("short", aliases={"short": "json:loads"}) is json.loads
    assert importing.instantiate("decimal.Decimal", "1.5") == Decimal("1.5")


class Nested:
    pass


@pytest.mark.parametrize("thing", [Nested, Nested(), json.JSONDecoder, json.loads])
def test_full_names_are_celerys(thing: Any) -> None:
    assert importing.qualname(thing) == their_imports.qualname(thing)


def test_a_module_in_the_current_directory_is_found(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here_97.py").write_text("answer = 42\n")
    monkeypatch.chdir(tmp_path)
    assert importing.import_from_cwd("only_here_97").answer == 42
    with pytest.raises(importing.NotAPackage, match="only_here_97"):
        importing.find_module("only_here_97.below")
    assert importing.gen_task_name(type("App", (), {"main": "shop"}), "add", "__main__") == "shop.add"


@pytest.mark.parametrize("name", ["w1@example.com", "example.com", "a@b@c"])
def test_node_names_are_celerys(name: str) -> None:
    assert tuple(nodenames.nodesplit(name)) == tuple(their_nodenames.nodesplit(name))
    assert nodenames.default_nodename(name) == their_nodenames.default_nodename(name)
    assert nodenames.nodename("w", "h") == their_utils.nodename("w", "h")
    assert nodenames.anon_nodename() == their_nodenames.anon_nodename()
    for text in ("%h", "%n-%d.log", "/var/%p%I.pid", "%i", "plain", ""):
        assert nodenames.node_format(text, name) == their_nodenames.node_format(text, name)
        assert nodenames.host_format(text.replace("%p", ""), "a.b.c") == their_nodenames.host_format(
            text.replace("%p", ""), "a.b.c"
        )


def test_the_error_names_an_unknown_letter() -> None:
    with pytest.raises(ValueError, match=r"%q in 'log-%q' is unknown; use one of %I, %d"):
        nodenames.host_format("log-%q")


URLS = [
    "amqp://user:p%40ss@host:5672/vhost",
    "redis://localhost/0?ssl_cert_reqs=CERT_NONE&timeout=3",
    "rediss://:secret@host:6380/1?ssl_check_hostname=false",
    "memory://",
    "sqs://AKEY:a%2Fb@",
    "amqp://host//",
]


@pytest.mark.parametrize("url", URLS)
def test_urls_are_read_as_kombu_reads_them(url: str) -> None:
    assert urls.parse_url(url) == their_urls.parse_url(url)
    assert tuple(urls.url_to_parts(url)) == tuple(their_urls.url_to_parts(url))
    assert urls.sanitize_url(url) == their_urls.sanitize_url(url)
    assert urls.maybe_sanitize_url(url) == their_urls.maybe_sanitize_url(url)
    assert urls.as_url(*urls.url_to_parts(url)) == their_urls.as_url(*their_urls.url_to_parts(url))


# --- queues ----------------------------------------------------------------------------------------

DECLARED: list[dict[str, Any]] = [
    {"name": "video"},
    {"name": "video", "exchange": "media", "routing_key": "media.video"},
    {"name": "video", "routing_key": "v", "durable": False, "exclusive": True, "max_priority": "10"},
    {"name": "video", "queue_arguments": {"x-expires": 1}, "expires": 3, "alias": "v"},
]


@pytest.mark.parametrize("declared", DECLARED)
def test_queues_have_the_same_attributes_as_kombus(declared: dict[str, Any]) -> None:
    ours, theirs = queues.Queue(**declared), kombu.Queue(**declared)
    assert ours.as_dict(recurse=True) == theirs.as_dict(recurse=True)
    assert repr(ours) == repr(theirs)
    assert str(ours.exchange) == str(theirs.exchange)
    assert ours.can_cache_declaration == theirs.can_cache_declaration
    for copied in (pickle.loads(pickle.dumps(ours)), copy.copy(ours)):
        assert copied == ours
        assert hash(copied) == hash(ours)


def test_bindings_and_exchanges_are_values_too() -> None:
    for module in (queues, kombu):
        media = module.Exchange("media", type="topic", delivery_mode="transient")
        bound = module.Queue("all", [module.binding(media, "a.#"), media.binding("b.#")])
        assert (bound.exchange, media.delivery_mode) == (None, 1)
        assert {str(one) for one in bound.bindings} == {"media->a.#", "media->b.#"}
        assert repr(media) == "<unbound Exchange media(topic)>"
        assert media == module.Exchange("media", "topic", delivery_mode=1)
        assert media != module.Exchange("media")
        assert module.Queue("a") != module.Queue("b")


@pytest.mark.parametrize(
    "options",
    [{}, {"exchange": "media", "exchange_type": "topic", "binding_key": "m.#"}, {"durable": False, "max_length": 3}],
)
def test_a_queue_written_as_a_dict_is_read_as_kombu_reads_it(options: dict[str, Any]) -> None:
    ours, theirs = queues.Queue.from_dict("q", **options), kombu.Queue.from_dict("q", **options)
    assert ours.as_dict(recurse=True) == theirs.as_dict(recurse=True)


def test_a_method_that_needs_a_broker_is_refused_and_named() -> None:
    for call in ("bind", "declare", "purge", "get", "consume", "delete", "queue_bind"):
        with pytest.raises(Unsupported, match=rf"{call}\(\) is refused here\. There is no broker"):
            getattr(queues.Queue("q"), call)()
    with pytest.raises(Unsupported, match="is refused here"):
        queues.Queue("q")(object())
    with pytest.raises(Unsupported, match="is refused here"):
        queues.Exchange("e", channel=object())


def test_a_workers_own_queue_has_celerys_name() -> None:
    ours, theirs = queues.worker_direct("w1@host"), their_utils.worker_direct("w1@host")
    assert (ours.name, ours.routing_key, str(ours.exchange)) == (theirs.name, theirs.routing_key, str(theirs.exchange))
    assert queues.worker_direct(ours) is ours


# --- kombu's JSON ----------------------------------------------------------------------------------

VALUES = [
    {"a": [1, 2.5, None, True, "ü"]},
    dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.timezone.utc),
    {"when": dt.date(2026, 1, 2), "at": dt.time(3, 4)},
    [uuid.UUID(int=7), Decimal("1.50"), b"bytes", b"\xff\xfe"],
]


@pytest.mark.parametrize("value", VALUES)
def test_each_side_reads_the_json_of_the_other(value: Any) -> None:
    assert json_names.loads(their_json.dumps(value)) == value
    assert their_json.loads(json_names.dumps(value)) == value
    assert json.loads(json_names.dumps(value)) == json.loads(their_json.dumps(value))
    assert json_names.loads(json.dumps(value, cls=json_names.JSONEncoder).encode()) == value
    assert json_names.loads(memoryview(json_names.dumps(value, indent=2).encode())) == value


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


def test_a_registered_type_is_encoded_by_both_interfaces() -> None:
    from pyramid_temporal_compat.payload import types

    json_names.register_type(Money, "money", lambda money: money.cents, Money)
    try:
        assert json_names.loads(json_names.dumps({"price": Money(5)}))["price"].cents == 5
        assert types.loads(types.dumps(Money(7))).cents == 7
        assert json_names.object_hook({"__type__": "money", "__value__": 9}).cents == 9
        assert json_names.object_hook({"plain": 1}) == {"plain": 1}
    finally:
        types.unregister_type(Money)
    with pytest.raises(TypeError, match="Money"):
        json_names.dumps(Money(5))
