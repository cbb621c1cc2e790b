"""Which values travel as JSON, how they come back, and what is said of those that can't."""

from __future__ import annotations

import collections
import dataclasses
import enum
import io
import json
import math
import threading
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pydantic
import pytest
from pyramid.request import Request
from sqlalchemy import Column, Integer, String
from sqlalchemy.orm import Session, declarative_base
from webob.multidict import MultiDict

from pyramid_temporal_compat.exceptions import NotSerializable
from pyramid_temporal_compat.payload import types
from pyramid_temporal_compat.payload.types import Unreadable, dumps, loads

NOON = datetime(2026, 3, 4, 12, 30, 1, 250, tzinfo=timezone(timedelta(hours=2)))


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Name(str, enum.Enum):
    ANN = "ann"


Pair = collections.namedtuple("Pair", "left right")


class Words(list):
    pass


class Table(dict):
    pass


class Moment(datetime):
    pass


@dataclasses.dataclass
class Point:
    x: int
    when: date | None = None
    owner: Any = None


class Model(pydantic.BaseModel):
    id: uuid.UUID
    tags: set[str] = set()


Base: Any = declarative_base()  # as SQLAlchemy 1.4 has it too


class Item(Base):
    __tablename__ = "items"
    key = Column("item_key", Integer, primary_key=True)
    name = Column(String)


class Speaks:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __json__(self) -> Any:
        return self.value


class ForPyramid:
    def __json__(self, request: Any) -> Any:
        return {"id": 1}


class Broken:
    def __json__(self) -> Any:
        raise KeyError("gone")


IDENTITY = uuid.UUID("12345678123456781234567812345678")

RETURNS_AS_ITSELF = [
    None,
    True,
    0,
    -(2**70),
    1.5,
    "",
    "grün 🌲 \u2028",
    [],
    {},
    [1, [2, {"a": None}]],
    NOON,
    NOON.replace(tzinfo=None),
    date(2026, 3, 4),
    time(12, 30, 1, 250),
    timedelta(days=-3, seconds=5, microseconds=7),
    Decimal("1.10"),
    IDENTITY,
    b"text",
    b"\xff\x00",
    b"",
    {1, 2},
    {(1, (2, 3)), "a"},
    frozenset({"a"}),
    {frozenset({1}), frozenset()},
    [{"when": NOON, "ids": {IDENTITY}}],
    math.inf,
    [-math.inf],
    {"__type__": "datetime", "__value__": "2026-01-01"},
    {"__type__": "bytes", "__value__": {"__type__": "no", "__value__": math.inf}},
    {"__type__": "alone"},
    {"__type__": 1, "__value__": 2, "more": 3},
    'a string with "__type__" in it',
    [{"__type__": "x", "__value__": 1}, NOON, {"a": {"__value__": b"", "__type__": "set"}}],
]

RETURNS_AS_ANOTHER = [
    ((1, (2,)), [1, [2]]),
    (Pair(1, 2), [1, 2]),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (Name.ANN, "ann"),
    ({Name.ANN: 1, Level.HIGH: 2}, {"ann": 1, "3": 2}),
    (Words([1]), [1]),
    (Table(a=1), {"a": 1}),
    (Moment(2026, 1, 2), datetime(2026, 1, 2)),
    (bytearray(b"ab"), b"ab"),
    (memoryview(b"ab"), b"ab"),
    ({1: "a", 2.5: "b", None: "d"}, {"1": "a", "2.5": "b", "null": "d"}),
    ({True: 1, False: 2}, {"true": 1, "false": 2}),
    (Point(1, date(2026, 1, 2)), {"x": 1, "when": date(2026, 1, 2), "owner": None}),
    (Point(1, owner=Point(2)), {"x": 1, "when": None, "owner": {"x": 2, "when": None, "owner": None}}),
    (Model(id=IDENTITY, tags={"a"}), {"id": str(IDENTITY), "tags": ["a"]}),
    (Speaks({"a": (1, NOON)}), {"a": [1, NOON]}),
    (Speaks({"__type__": "decimal", "__value__": "2.0"}), Decimal("2.0")),
    (Speaks(Speaks(3)), 3),
    ({Speaks(1)}, {1}),
]


def named(value: object) -> str:
    """Not its repr: processes that run parts of the tests have to name each alike, and a set has no order."""
    return type(value).__name__


@pytest.mark.parametrize("value", RETURNS_AS_ITSELF, ids=named)
def test_value_comes_back_as_it_was(value: Any) -> None:
    back = loads(dumps(value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(("value", "expected"), RETURNS_AS_ANOTHER, ids=named)
def test_value_comes_back_as_plain_data(value: Any, expected: Any) -> None:
    back = loads(dumps(value))
    assert back == expected
    assert type(back) is type(expected)


def test_not_a_number_comes_back_and_the_text_stays_json_that_a_browser_reads() -> None:
    data = dumps([math.nan, 1])
    assert b"NaN" not in data
    assert math.isnan(loads(data)[0])


@pytest.mark.parametrize(
    "value",
    [value for value in RETURNS_AS_ITSELF if value == value] + [value for value, _ in RETURNS_AS_ANOTHER],
    ids=named,
)
def test_the_walk_writes_the_same_bytes_as_the_c_encoder(value: Any) -> None:
    assert types._dumps_by_walking(value, "") == dumps(value)


def test_json_is_compact_utf8() -> None:
    assert dumps({"a": [1, "ü"]}) == '{"a":[1,"ü"]}'.encode()


KOMBU_CARRIES = [NOON, date(2026, 3, 4), time(1, 2), Decimal("3.4"), IDENTITY, b"text", b"\xff", [1, {"a": NOON}]]


@pytest.mark.parametrize("value", KOMBU_CARRIES, ids=named)
def test_kombu_and_we_read_each_other(value: Any) -> None:
    kombu = pytest.importorskip("kombu.utils.json", reason="kombu is what our JSON is compared with")
    assert kombu.loads(dumps(value)) == value
    assert loads(kombu.dumps(value).encode()) == value


def test_infinity_as_celery_writes_it_is_read() -> None:
    assert loads(b"[Infinity]") == [math.inf]


# --- registered types ---


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents


class Euro(Money):
    pass


@pytest.fixture
def registered():
    made = []

    def register(cls, *args):
        types.register_type(cls, *args)
        made.append(cls)

    yield register
    for cls in made:
        types.unregister_type(cls)


def test_registered_type_travels_with_its_subclasses_until_it_is_unregistered(registered) -> None:
    types.register_type(Money, "money", lambda value: [value.cents, NOON], lambda value: Money(value[0]))
    data = dumps({"price": Euro(5)})
    assert loads(data) == {"price": Money(5)}
    types.unregister_type(Money)
    with pytest.raises(NotSerializable, match=r"price is a .*\.Euro,"):
        dumps({"price": Euro(5)})
    with pytest.raises(Unreadable, match="'money', which is not known here; call register_type"):
        loads(data)


def test_the_nearest_registered_class_wins(registered) -> None:
    registered(Moment, "moment", lambda value: value.year, lambda year: Moment(year, 1, 1))
    assert loads(dumps([Moment(2026, 1, 1), NOON])) == [Moment(2026, 1, 1), NOON]
    assert type(loads(dumps(Moment(2026, 1, 1)))) is Moment


def test_type_registered_without_a_marker_is_written_plain(registered) -> None:
    registered(Money, None, lambda value: value.cents)
    assert dumps([Money(3)]) == b"[3]"


def test_abstract_class_can_be_registered(registered) -> None:
    registered(collections.abc.Mapping, None, dict)
    assert loads(dumps(MultiDict(a=1))) == {"a": 1}


def test_builtin_type_can_be_replaced_and_returns_when_unregistered() -> None:
    types.register_type(Decimal, "decimal", lambda value: {"d": str(value)}, lambda value: Decimal(value["d"]))
    assert b'{"d":"1.5"}' in dumps(Decimal("1.5"))
    assert loads(dumps(Decimal("1.5"))) == Decimal("1.5")
    types.unregister_type(Decimal)
    assert b'"__value__":"1.5"' in dumps(Decimal("1.5"))


def test_failing_encoder_is_named_with_the_place(registered) -> None:
    registered(Money, "money", lambda value: value.missing, Money)
    with pytest.raises(
        NotSerializable, match=r"args\[0\] .* AttributeError: 'Money' object has no attribute 'missing'"
    ):
        dumps({"args": [Money(1)]})


# --- what is refused ---


def _generator():
    yield 1


class Upload:
    filename = "a.txt"
    file = io.BytesIO()


REFUSED = [
    ({"args": [0, Point(1, owner=object())]}, r"^args\[1\]\.owner is a object, which can't be sent: pass plain values"),
    ({"kwargs": {"item": Item(key=3)}}, r"^kwargs\['item'\] is a .*\.Item,.* primary key: item\.key"),
    (Session(), "request.dbsession"),
    (Request.blank("/"), "pass what the task needs of it"),
    (MultiDict(a=1), r"pass its mixed\(\)"),
    (Upload(), "store it and pass where"),
    (_generator(), r"a generator can be read once, here; pass list\(it\)"),
    ({"a": 1}.keys(), r"pass list\(it\)"),
    (collections.deque(), r"pass list\(it\)"),
    (collections.ChainMap(), r"pass dict\(it\)"),
    (io.BytesIO(), "an open file stays in its process"),
    (lambda: 1, "code does not travel; make it a task"),
    (len, "code does not travel"),
    (Point, "pass the class's dotted name"),
    (math, "pass the module's name"),
    (Path("a"), r"pass str\(path\)"),
    (ValueError("x"), r"pass str\(error\)"),
    (1j, "real and imag"),
    (threading.Lock(), "pass plain values"),
    (type("Local", (), {"__qualname__": "f.<locals>.Local"})(), "its class is local to a function"),
    ({(1, 2): 3}, r"^\[\(1, 2\)\] is a tuple, .* JSON's keys are strings"),
    ({"a": {IDENTITY: 3}}, r"^a\[UUID\(.*\)\] is a uuid.UUID"),
    ({math.inf: 1}, "JSON has no such key"),
    (["a\ud800"], r"^\[0\] is a str, .*position 1 is a lone surrogate"),
    ({"a\udc80": 1}, "lone surrogate"),
    ({"n": 10**5000}, r"^n is a int, .*pass hex\(number\)"),
    (ForPyramid(), "its __json__ takes a request, as Pyramid's JSON renderer calls it"),
    (Broken(), "failed with KeyError: 'gone'"),
    (Speaks([1, object()]), r"^\[1\] is a object"),
    ({object()}, r"^\[0\] is a object"),
]


@pytest.mark.parametrize(("value", "says"), REFUSED, ids=lambda part: part if isinstance(part, str) else None)
def test_what_cannot_travel_is_named_with_its_place_and_what_to_do(value: Any, says: str) -> None:
    with pytest.raises(NotSerializable, match=says):
        dumps(value)


def test_coroutine_is_refused_with_advice() -> None:
    async def later() -> None: ...

    coroutine = later()
    try:
        with pytest.raises(NotSerializable, match="await it first"):
            dumps(coroutine)
    finally:
        coroutine.close()


def test_value_that_contains_itself_is_refused_with_both_places() -> None:
    value: dict[str, Any] = {"args": [[]]}
    value["args"][0].append(value["args"])
    with pytest.raises(NotSerializable, match=r"^args\[0\]\[0\] is a list.* contains itself \(it is also args\)"):
        dumps(value)


def test_dataclass_that_contains_itself_is_refused() -> None:
    point = Point(1)
    point.owner = point
    with pytest.raises(NotSerializable, match="contains itself"):
        dumps(point)


def test_one_object_in_two_places_is_no_cycle() -> None:
    shared = [math.inf]
    assert loads(dumps([shared, shared])) == [[math.inf], [math.inf]]


def test_deep_nesting_is_refused() -> None:
    value: list[Any] = []
    for _ in range(200_000):
        value = [value]
    with pytest.raises(NotSerializable, match="result is nested too deeply"):
        dumps(value, "result")


def test_error_calls_the_value_by_the_name_it_is_given() -> None:
    with pytest.raises(NotSerializable, match=r"^result\['a'\] is a object"):
        dumps({"a": object()}, "result")


# --- what can't be read ---


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "1 bytes is not JSON"),
        (b"\xff", "is not JSON"),
        (b'{"__type__":"uuid","__value__":{"hex":"zz"}}', "uuid can't be read from"),
        (b'{"__type__":["uuid"],"__value__":1}', "which is not known here"),
        (b'{"__type__":"timedelta","__value__":{"__class__":1}}', "timedelta can't be read"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_bytes_that_cannot_be_read_are_described(data: bytes, says: str) -> None:
    with pytest.raises(Unreadable, match=says):
        loads(data)


def test_set_of_dataclasses_arrives_as_a_list_of_dicts() -> None:
    frozen = dataclasses.make_dataclass("Frozen", ["a"], frozen=True)
    assert loads(dumps({frozen(1)})) == [{"a": 1}]


def test_text_is_what_json_itself_reads() -> None:
    json.loads(dumps([math.nan, NOON, {"__type__": 1, "__value__": 2}]), parse_constant=pytest.fail)
