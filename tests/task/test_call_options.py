"""Which calls are refused in the caller's own line, and what a message contains."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import uuid
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import kombu
import pytest

from pyramid_temporal_compat import Celery, Task
from pyramid_temporal_compat.celery_names.kombu_queues import Queue
from pyramid_temporal_compat.exceptions import (
    InvalidArguments,
    InvalidCall,
    InvalidTaskError,
    NotRegistered,
    NotSerializable,
    PayloadTooLarge,
)
from pyramid_temporal_compat.message.body import read_body
from pyramid_temporal_compat.message.message import LONGEST_ID, VERSION, Message
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.serializers import SerializerNotInstalled
from pyramid_temporal_compat.task.call_options import OPTIONS, _shortener, make_message, short_repr
from tests.enlist.application import serving

UTC = datetime.timezone.utc


class Recorded(Celery):
    """An app that records its messages instead of sending them."""

    def __init__(self) -> None:
        super().__init__("shop", set_as_current=False)
        self.sent: list[Message] = []

    def enlist(self, message: Message, transaction_manager: Any = None) -> None:
        self.sent.append(message)


@pytest.fixture
def app() -> Recorded:
    return Recorded()


@pytest.fixture
def pack(app: Recorded) -> Any:
    @app.task(name="pack")
    def pack(item: Any = None, *, wrapped: Any = False) -> None: ...

    return pack


def body(message: Message) -> Any:
    return read_body(message, ["json"])


# --- arguments that don't fit the signature ----------------------------------------------------------


def plain(item: int, owner: str = "x") -> None: ...
def positional_only(item: int, /, owner: str = "x") -> None: ...
def keyword_only(item: int, *, owner: str) -> None: ...
def variadic(first: int, *rest: int) -> None: ...
def catch_all(**options: int) -> None: ...
def bound(self: Any, item: int) -> None: ...
def bound_variadic(*everything: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "fits"),
    [
        (plain, (1,), {}, True),
        (plain, (1, "y"), {}, True),
        (plain, (), {"item": 1}, True),
        (plain, (), {}, False),
        (plain, (1, 2, 3), {}, False),
        (plain, (1,), {"item": 1}, False),
        (plain, (1,), {"size": 1}, False),
        (plain, (1,), {1: 1}, False),
        (positional_only, (1,), {"owner": "y"}, True),
        (positional_only, (), {"item": 1}, False),
        (keyword_only, (1,), {"owner": "y"}, True),
        (keyword_only, (1, "y"), {}, False),
        (keyword_only, (1,), {}, False),
        (variadic, (1, 2, 3), {}, True),
        (variadic, (), {}, False),
        (catch_all, (), {"anything": 1, "self": 2}, True),
        (catch_all, (1,), {}, False),
        (bound, (1,), {}, True),
        (bound, (), {"item": 1}, True),
        (bound, (), {}, False),
        (bound, (1, 2), {}, False),
        (bound_variadic, (1, 2), {}, True),
    ],
)
def test_arguments_are_checked_against_the_signature(
    app: Recorded, function: Any, args: Any, kwargs: Any, fits: bool
) -> None:
    task = app.task(name="pack", bind=function.__name__.startswith("bound"))(function)
    if fits:
        task.apply_async(args, kwargs)
        assert body(app.sent[0]) == {"args": list(args), "kwargs": kwargs}
        return
    with pytest.raises(InvalidArguments, match=r"^pack\(.*\) can't be called with args=\(.*\), kwargs=\{.*\}: "):
        task.apply_async(args, kwargs)
    assert not app.sent


def test_delay_raises_the_same_error(app: Recorded, pack: Any) -> None:
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'size'"):
        pack.delay(1, size=2)


def test_a_class_based_task_has_the_signature_of_its_run(app: Recorded) -> None:
    class Pack(Task):
        name = "pack"

        def run(self, item: int) -> None: ...

    task = app.register_task(Pack())
    task.delay(1)
    with pytest.raises(InvalidArguments, match=r"pack\(item: 'int'\)|pack\(item: int\)"):
        task.delay()
    assert len(app.sent) == 1


def test_a_task_without_typing_takes_any_arguments(app: Recorded) -> None:
    app.task(name="pack", typing=False)(plain).delay(1, 2, 3)
    assert body(app.sent[0])["args"] == [1, 2, 3]


@pytest.mark.parametrize("args", ["abc", b"abc", {"item": 1}, {1, 2}, 5])
def test_args_is_a_list(pack: Any, args: Any) -> None:
    with pytest.raises(InvalidArguments, match="args takes a list"):
        pack.apply_async(args)


def test_kwargs_is_a_dict(pack: Any) -> None:
    with pytest.raises(InvalidArguments, match="kwargs a dict"):
        pack.apply_async((), 5)


def test_the_error_is_short_even_if_the_argument_is_long(pack: Any) -> None:
    with pytest.raises(InvalidArguments) as caught:
        pack.delay("x" * 1_000_000, 2)
    assert len(str(caught.value)) < 1000


def test_delay_on_a_class_raises_an_error_that_names_register_task(app: Recorded) -> None:
    class Pack(Task):
        name = "pack"

        def run(self, item: int) -> None: ...

    for call in (lambda: Pack.delay(1), lambda: Pack.apply_async((1,))):
        with pytest.raises(InvalidCall, match=r"was called on a task's class.*app\.register_task"):
            call()


def test_a_task_without_a_name_raises_an_error_that_names_register_task(app: Recorded) -> None:
    class Pack(Task):
        def run(self) -> None: ...

    with pytest.raises(InvalidCall, match=r"Pack has no task name; add it with app\.register_task"):
        Pack().delay()


def test_an_unregistered_task_raises_not_registered(app: Recorded) -> None:
    with pytest.raises(NotRegistered, match=r"task 'x' is not registered.*ptemporal\.include"):
        app.tasks["x"]
    app.send_task("x", (1,))
    assert app.sent[0].task == "x"


# --- values that can't travel -------------------------------------------------------------------------------


class Thing:
    pass


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("mute")


@pytest.mark.parametrize(
    ("args", "kwargs", "named"),
    [
        ((Thing(),), {}, "argument item is a .*Thing"),
        (({"a": [1, Thing()]},), {}, r"argument item\['a'\]\[1\] is a .*Thing"),
        ((1,), {"wrapped": Thing()}, "argument wrapped is a .*Thing"),
        (("\udc80",), {}, "argument item is a str.*lone surrogate"),
        ((Mute(),), {}, "argument item is a .*Mute"),
    ],
)
def test_the_error_names_the_argument_that_can_t_travel(pack: Any, args: Any, kwargs: Any, named: str) -> None:
    with pytest.raises(NotSerializable, match=f"^task 'pack': {named}"):
        pack.apply_async(args, kwargs)


def test_the_error_names_the_index_of_one_of_many_arguments(app: Recorded) -> None:
    with pytest.raises(NotSerializable, match=r"argument rest\[1\] is a"):
        app.task(name="pack")(variadic).delay(1, 2, Thing())
    with pytest.raises(NotSerializable, match=r"argument args\[1\] is a"):
        app.send_task("unknown.here", (1, Thing()))


def test_the_error_names_the_argument_that_another_serializer_can_t_write(pack: Any) -> None:
    with pytest.raises(NotSerializable, match="task 'pack': argument wrapped can't be written by the serializer"):
        pack.apply_async((1,), {"wrapped": lambda: None}, serializer="pickle")


def test_an_unknown_serializer_is_refused(pack: Any) -> None:
    with pytest.raises(SerializerNotInstalled, match="no serializer is called 'xml'; there are"):
        pack.apply_async(serializer="xml")


@pytest.mark.parametrize(
    "args",
    [(1,), (), (1, 2.5, None, True, -7), (float("nan"),), (10**39,), (10**60, 1), tuple(range(12)), tuple(range(13))],
)
@pytest.mark.parametrize("levels", [0, 1, 3])
def test_numbers_are_shown_as_any_other_arguments(args: tuple[Any, ...], levels: int) -> None:
    assert short_repr(args, levels) == _shortener(levels).repr(args)


def test_a_task_is_sent_even_if_the_repr_of_an_argument_raises(app: Recorded, pack: Any) -> None:
    pack.apply_async((Mute(),), serializer="pickle")
    assert "Mute" in app.sent[0].argsrepr


# --- size --------------------------------------------------------------------------------------------


def test_the_limit_is_exact_and_the_error_names_the_largest_argument(app: Recorded, pack: Any) -> None:
    pack.delay("", wrapped="xx")
    overhead = sum(len(part.data) + sum(map(len, [*part.metadata, *part.metadata.values()])) for part in sent(app))
    app.conf.ptemporal_payload_limit = overhead + 1000
    longest = "x" * 500  # once as the argument, and shortened in the envelope
    while True:
        try:
            pack.delay(longest, wrapped="xx")
        except PayloadTooLarge as error:
            said = str(error)
            break
        longest += "x"
    size = total(app)
    assert size == overhead + 1000
    assert f"task 'pack': it takes {size + 1:,} bytes, and the limit is {size:,}" in said
    assert f"the largest argument is item, of {len(longest) + 2:,} bytes" in said


def test_headers_count_towards_the_limit_and_the_error_names_them(app: Recorded, pack: Any) -> None:
    with pytest.raises(PayloadTooLarge, match="largest argument is headers"):
        pack.apply_async(headers={"x": "x" * 3_000_000})


def sent(app: Recorded) -> tuple[Payload, ...]:
    return app.sent[-1].encode()


def total(app: Recorded) -> int:
    return sum(len(part.data) + sum(map(len, [*part.metadata, *part.metadata.values()])) for part in sent(app))


# --- time --------------------------------------------------------------------------------------------

NOT_SECONDS = [-1, -0.001, float("nan"), float("inf"), -float("inf"), True, "5", [5], decimal.Decimal(5), 10**400]


@pytest.mark.parametrize("value", [*NOT_SECONDS, 1_700_000_000_000, datetime.timedelta(days=-1)])
@pytest.mark.parametrize("option", ["countdown", "time_limit", "soft_time_limit"])
def test_seconds_outside_the_range_are_refused(pack: Any, option: str, value: Any) -> None:
    with pytest.raises(InvalidCall, match=f"task 'pack': {option}="):
        pack.apply_async(**{option: value})


@pytest.mark.parametrize("value", [0, 1, 1.5, datetime.timedelta(minutes=1)])
def test_countdown(app: Recorded, pack: Any, value: Any) -> None:
    seconds = value.total_seconds() if isinstance(value, datetime.timedelta) else value
    pack.apply_async(countdown=value)
    eta = app.sent[0].eta
    assert eta is None if not seconds else abs((eta - now()).total_seconds() - seconds) < 30  # type: ignore[operator]


def test_eta_and_countdown_exclude_each_other(pack: Any) -> None:
    with pytest.raises(InvalidCall, match="both say when to start; give one"):
        pack.apply_async(eta=now(), countdown=0)


@pytest.mark.parametrize("option", ["eta", "expires"])
def test_a_time_without_a_zone_is_refused_until_the_zone_is_set(app: Recorded, pack: Any, option: str) -> None:
    noon = datetime.datetime(2030, 1, 1, 12)
    with pytest.raises(InvalidCall, match=r"has no time zone; use datetime\.now\(timezone\.utc\), or set celery\.time"):
        pack.apply_async(**{option: noon})
    app.conf.timezone = "Europe/Paris"
    pack.apply_async(**{option: noon})
    assert getattr(app.sent[0], option) == noon.replace(tzinfo=ZoneInfo("Europe/Paris"))
    assert getattr(app.sent[0], option).utcoffset() == datetime.timedelta(0)


@pytest.mark.parametrize("value", [5, datetime.date(2030, 1, 1), "tomorrow", b"2030-01-01T00:00:00Z"])
def test_eta_is_a_moment(pack: Any, value: Any) -> None:
    with pytest.raises(InvalidCall, match="task 'pack': eta="):
        pack.apply_async(eta=value)


def test_eta_as_text(app: Recorded, pack: Any) -> None:
    pack.apply_async(eta="2030-01-01T00:00:00Z")
    assert app.sent[0].eta == datetime.datetime(2030, 1, 1, tzinfo=UTC)


FAR_EAST = datetime.timezone(datetime.timedelta(hours=14))


@pytest.mark.parametrize("zone", [UTC, FAR_EAST, datetime.timezone(-datetime.timedelta(hours=12))])
def test_absurd_times(app: Recorded, pack: Any, zone: datetime.tzinfo) -> None:
    for option in ("eta", "expires"):
        with pytest.raises(InvalidCall, match="more than 3650 days from now"):
            pack.apply_async(**{option: datetime.datetime.max.replace(tzinfo=zone)})
        pack.apply_async(**{option: datetime.datetime.min.replace(tzinfo=zone)})
        assert getattr(app.sent[-1], option) < now()


@pytest.mark.parametrize("value", NOT_SECONDS)
def test_expires_is_seconds_or_a_moment(pack: Any, value: Any) -> None:
    with pytest.raises(InvalidCall, match="task 'pack': expires="):
        pack.apply_async(expires=value)


@pytest.mark.parametrize(
    "value",
    [60, 60.0, datetime.timedelta(minutes=1), lambda: now() + datetime.timedelta(minutes=1), lambda: later_text()],
)
def test_expires(app: Recorded, pack: Any, value: Any) -> None:
    pack.apply_async(expires=value() if callable(value) else value)
    assert 30 < (app.sent[0].expires - now()).total_seconds() < 90  # type: ignore[operator]


def test_expires_0_has_expired(app: Recorded, pack: Any) -> None:
    pack.apply_async(expires=0)
    assert app.sent[0].expires is not None
    assert app.sent[0].expires <= now()


def test_the_soft_limit_comes_first(pack: Any) -> None:
    with pytest.raises(InvalidCall, match="soft_time_limit=10 is above time_limit=5; soft_time_limit must be less"):
        pack.apply_async(soft_time_limit=10, time_limit=5)


def test_a_time_limit_of_0_means_no_limit_even_if_the_task_has_one(app: Recorded) -> None:
    task = app.task(name="pack", time_limit=5, soft_time_limit=3)(plain)
    task.apply_async((1,))
    task.apply_async((1,), time_limit=0, soft_time_limit=0)
    assert [(message.time_limit, message.soft_time_limit) for message in app.sent] == [(5, 3), (None, None)]


def now() -> datetime.datetime:
    return datetime.datetime.now(UTC)


def later_text() -> str:
    return (now() + datetime.timedelta(minutes=1)).isoformat()


# --- names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["task_id", "queue"])
@pytest.mark.parametrize(
    "value",
    ["", " ", "a\nb", "a\0b", "\udc80", 5, b"x", ["x"], "x" * 1001, "é" * 501],
    ids=lambda value: repr(value)[:9],
)
def test_a_name_that_the_server_would_refuse_is_refused(pack: Any, option: str, value: Any) -> None:
    with pytest.raises(InvalidCall, match=f"task 'pack': {option}=") as caught:
        pack.apply_async(**{option: value})
    assert len(str(caught.value)) < 300


def test_a_task_name_that_the_server_would_refuse_is_refused(app: Recorded) -> None:
    for name in ("", "x" * 1001, "a\nb"):
        with pytest.raises(InvalidCall, match="name="):
            app.send_task(name)


def test_the_server_s_own_queues_are_refused(pack: Any) -> None:
    with pytest.raises(InvalidCall, match="reserves names that start with /_sys/"):
        pack.apply_async(queue="/_sys/items")


def test_a_kombu_queue_stands_for_its_name(app: Recorded, pack: Any) -> None:
    pack.apply_async(queue=kombu.Queue("video"))
    assert app.sent[0].queue == "video"


# --- the other options -------------------------------------------------------------------------------


def test_the_error_for_an_unknown_option_names_the_nearest_option(pack: Any) -> None:
    with pytest.raises(InvalidCall, match=r"apply_async\(\) has no option 'countdwn'; did you mean 'countdown'\?"):
        pack.apply_async(countdwn=5)
    with pytest.raises(InvalidCall, match="has no option 'zzz'; it takes add_to_parent, compression"):
        pack.apply_async(zzz=5)


def test_an_option_of_none_is_ignored(app: Recorded, pack: Any) -> None:
    pack.apply_async(task_id="fixed")
    pack.apply_async(**{**dict.fromkeys(OPTIONS), "task_id": "fixed"})
    assert app.sent[0] == app.sent[1]


@pytest.mark.parametrize("value", [-1, 10, 256, 5.0, "5", True])
def test_priority_is_a_number_in_range(pack: Any, value: Any) -> None:
    with pytest.raises(InvalidCall, match=r"priority=.*0 to 9"):
        pack.apply_async(priority=value)


@pytest.mark.parametrize(
    "settings",
    [
        {"task_queue_max_priority": 20},
        {"task_queues": [Queue("celery", max_priority=20)]},
        {"task_queues": [Queue("celery", queue_arguments={"x-max-priority": 20})]},
    ],
    ids=["setting", "queue", "arguments"],
)
def test_a_priority_may_be_as_high_as_a_queue_declares(app: Recorded, pack: Any, settings: dict[str, Any]) -> None:
    app.conf.update(settings)
    pack.apply_async(priority=20)
    assert app.sent[-1].priority == 20
    with pytest.raises(InvalidCall, match="priority=21"):
        pack.apply_async(priority=21)


@pytest.mark.parametrize(
    "option",
    [
        {"fairness_key": "k" * 65},
        {"fairness_key": 5},
        {"fairness_weight": 0},
        {"retries": -1},
        {"retries": 2**31},
        {"group_index": object()},
        {"group_index": "first"},
        {"replaced_task_nesting": -1},
        {"replaced_task_nesting": "twice"},
        {"shadow": "\n"},
        {"root_id": 5},
        {"parent_id": object()},
    ],
)
def test_the_error_names_an_option_out_of_its_range(pack: Any, option: dict[str, Any]) -> None:
    with pytest.raises(InvalidCall, match=f"task 'pack': {next(iter(option))}="):
        pack.apply_async(**option)


@pytest.mark.parametrize("value", ["x", 5, ["x"], {1: 2}])
def test_headers_are_a_dict_with_string_keys(pack: Any, value: Any) -> None:
    with pytest.raises(InvalidCall, match=r"headers=.*; it takes a dict with string keys"):
        pack.apply_async(headers=value)


def test_the_error_names_headers_that_can_t_travel(pack: Any) -> None:
    for value in (Thing(), "\udc80"):
        with pytest.raises(NotSerializable, match=r"task 'pack': headers\['tenant'\]\['of'\] is a"):
            pack.apply_async(headers={"tenant": {"of": value}})


HEADERS = {"when": datetime.datetime(2030, 1, 1, tzinfo=UTC), "who": uuid.UUID(int=5), "raw": b"\xff", "plain": [1]}


def test_headers_travel_with_their_types(app: Recorded, pack: Any) -> None:
    pack.apply_async(headers=HEADERS)
    message = app.sent[0]
    envelope, *carried = message.encode()
    assert Message.decode(envelope.data, carried) == message
    assert message.read_headers() == HEADERS


# --- the message -------------------------------------------------------------------------------------

MESSAGE = Message(task="shop.pack", id="1", body=(Payload({"encoding": b"json/plain"}, b"[]"),), queue="q")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"eta": datetime.datetime(2030, 1, 1, 0, 0, 0, 5, UTC), "expires": datetime.datetime(2031, 1, 1, tzinfo=UTC)},
        {"priority": 0, "retries": 3, "time_limit": 1.5, "soft_time_limit": 1, "at_most_once": True},
        {"fairness_key": "é", "fairness_weight": 0.5, "headers": {"a": {"b": [None, "\u2028"]}}, "ignore_result": True},
        {
            "heartbeat_timeout": 5.0,
            "shadow": "s",
            "argsrepr": "('\\udc80',)",
            "serializer": "yaml",
            "compression": "zlib",
        },
    ],
)
def test_a_decoded_message_equals_the_encoded_message(changes: dict[str, Any]) -> None:
    message = MESSAGE.copy(**changes)
    envelope, *carried = message.encode()
    assert Message.decode(envelope.data, carried) == message
    assert json.loads(message.for_log())["envelope"]["id"] == "1"


def test_fields_of_a_newer_release_are_ignored() -> None:
    assert decoded({**written(), "added_later": {"x": 1}}) == MESSAGE


def test_fields_that_an_older_release_did_not_write_get_defaults() -> None:
    assert decoded({"ptemporal": 1, "task": "shop.pack", "id": "1", "queue": "q"}) == MESSAGE


def test_a_newer_version_raises_an_error_that_says_what_to_do() -> None:
    with pytest.raises(InvalidTaskError, match=f"message '1' has version {VERSION + 1}.*upgrade the workers before"):
        decoded({**written(), "ptemporal": VERSION + 1})


@pytest.mark.parametrize(
    "envelope",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b"\xff\xfe",
        b"{}",
        b'{"id": "1"}',
        b'{"ptemporal": "x"}',
        b'{"ptemporal": 1}',
        b'{"ptemporal": 1, "task": "t", "id": "1", "queue": "q", "eta": 5}',
        b'{"ptemporal": 1, "task": "t", "id": "1", "queue": "q", "eta": "soon"}',
    ],
)
def test_bytes_that_are_not_a_message_are_refused(envelope: bytes) -> None:
    with pytest.raises(InvalidTaskError, match="not a task message"):
        Message.decode(envelope, MESSAGE.body)


def written() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(MESSAGE.encode()[0].data)
    return found


def decoded(envelope: dict[str, Any]) -> Message:
    return Message.decode(json.dumps(envelope).encode(), MESSAGE.body)


# --- on the real server ------------------------------------------------------------------------------


@pytest.fixture
def shop(temporal_address: str) -> Iterator[Celery]:
    with Celery("shop", set_as_current=False) as app:
        app.conf.ptemporal_address = temporal_address

        @app.task(name="echo", bind=True)
        def echo(self: Any, value: Any) -> Any:
            return self.request.headers if value is None else value

        yield app


def known(app: Celery, task_id: str) -> Any:
    async def describe(client: Any) -> Any:
        return await client.get_workflow_handle(task_id).describe()

    return app.temporal.call(describe, 10)


@pytest.mark.parametrize("letter", ["x", "é", "任", "🙂"])
def test_the_server_accepts_the_longest_names(shop: Celery, letter: str) -> None:
    def longest(start: str) -> str:
        return start + letter * ((LONGEST_ID - len(start)) // len(letter.encode()))

    task_id, queue, name = longest(uuid.uuid4().hex), longest("queue"), longest("task")
    shop.send_task(name, task_id=task_id, queue=queue, shadow=letter * 200, fairness_key="k" * 64, fairness_weight=0.5)
    found = known(shop, task_id)
    assert (found.workflow_type, found.task_queue) == (name, queue)


def test_an_eta_in_the_distant_past_starts_the_task_at_once(shop: Celery) -> None:
    task_id = uuid.uuid4().hex
    shop.send_task("x", task_id=task_id, queue=f"q-{task_id}", eta=datetime.datetime.min.replace(tzinfo=UTC))
    found = known(shop, task_id)
    assert found.execution_time is None or found.execution_time <= found.start_time


def test_a_second_start_with_the_same_id_does_nothing(shop: Celery) -> None:
    task_id = uuid.uuid4().hex
    first = shop.send_task("first", task_id=task_id, queue=f"q-{task_id}")
    run = known(shop, task_id).run_id
    shop.send_task("second", task_id=task_id, queue=f"q-{task_id}")
    assert (known(shop, task_id).run_id, known(shop, task_id).workflow_type) == (run, "first")
    first.revoke(terminate=True)
    shop.send_task("third", task_id=task_id, queue=f"q-{task_id}")
    assert known(shop, task_id).workflow_type == "first"


KEY = "k1:" + base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize("keys", [(), (KEY,)], ids=["plain", "encrypted"])
def test_the_largest_message_goes_there_and_back_and_headers_arrive(shop: Celery, keys: tuple[str, ...]) -> None:
    shop.conf.ptemporal_encryption_keys = keys
    queue = f"served-{uuid.uuid4()}"
    task = shop.tasks["echo"]
    limit = shop.conf.ptemporal_payload_limit
    empty = make_message(shop, "echo", ("x" * 200,), {}, {"queue": queue}, task)
    overhead = sum(len(part.data) + sum(map(len, [*part.metadata, *part.metadata.values()])) for part in empty.encode())
    largest = "x" * (limit - overhead + 200)
    with pytest.raises(PayloadTooLarge):
        task.apply_async((largest + "x",), queue=queue)
    with serving(shop, queue):
        assert task.apply_async((largest,), queue=queue).get(30) == largest
        assert task.apply_async((None,), queue=queue, headers=HEADERS).get(30) == HEADERS
